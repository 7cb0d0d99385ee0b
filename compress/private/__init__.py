"""Training that hides private data: differential privacy by noise on clipped gradients, and by noisy votes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.private.features import PLENTY as PLENTY
    from compress.private.features import linear_head as linear_head
    from compress.private.features import public_data as public_data
    from compress.private.features import put_head as put_head
    from compress.private.features import read_features as read_features
    from compress.private.features import scale_of as scale_of
    from compress.private.features import teach_features as teach_features
    from compress.private.features import train_on as train_on
    from compress.private.heads import train_head as train_head
    from compress.private.norms import fold_exactly as fold_exactly
    from compress.private.norms import require_separate_samples as require_separate_samples
    from compress.private.teacher_vote import Election as Election
    from compress.private.teacher_vote import elect as elect
    from compress.private.teachers import Vote as Vote
    from compress.private.teachers import parts_of as parts_of
    from compress.private.training import train as train


__getattr__, __dir__ = door(
    __name__,
    {
        "teacher_vote": ("Election", "elect"),
        "features": (
            "PLENTY", "linear_head", "public_data", "put_head", "read_features", "scale_of", "teach_features",
            "train_on",
        ),
        "heads": ("train_head",),
        "norms": ("fold_exactly", "require_separate_samples"),
        "teachers": ("Vote", "parts_of"),
        "training": ("train",),
    },
)  # fmt: skip
