"""Detection of random augmentation by reading a few samples twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from certify.core.errors import DataError
from certify.core.progress import Progress

READ_TWICE = 16
"""Samples read twice, spread over the data. Random mirroring changes an image in half of the cases."""

TWICE = "gives different values when a sample is read twice, as random augmentation does"


def is_random(read: Callable[[Sequence[int]], Sequence[Mapping[str, Any]]], count: int) -> bool:
    """Return whether some of ``count`` samples differ between two reads.

    Args:
        read: returns the arrays of samples by name; labels too.
        count: number of samples.
    """
    chosen = np.unique(np.linspace(0, count - 1, min(READ_TWICE, count)).astype(int)).tolist()
    return bool(chosen) and [_values(one) for one in read(chosen)] != [_values(one) for one in read(chosen)]


def require_fixed(random: Sequence[str], parts: Collection[str], where: str, progress: Progress) -> None:
    """Refuse random samples in all parts except train, where they are reported.

    Args:
        random: names of the parts that :func:`is_random` found.
        parts: names of all given parts; missing ones are set aside from train.
        where: name of the data in sentences.
        progress: where to report.

    Raises:
        DataError: a part from which something is measured or chosen would be random.
    """
    if bad := [part for part in random if part != "train"]:
        raise DataError(f"{where}: the {bad[0]} part {TWICE}; only the train part may be augmented.")
    if not random:
        return
    if "validation" not in parts:
        raise DataError(
            f"{where}: the train part {TWICE}, and the validation part would be set aside from it; give a validation "
            "part without augmentation."
        )
    aside = "" if "calibration" in parts else ", also for calibration, whose samples are set aside from it"
    progress.say(
        f"{where}: the train part {TWICE}. It is read once, so each sample has one form{aside}; an interrupted job "
        "starts over unless the next read gives the same values."
    )


def _values(arrays: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return arrays in a form that can be compared; NaN equals NaN."""
    # The bytes of an array of Python objects are their addresses.
    return {
        name: (str(one.dtype), one.shape, repr(one.tolist()).encode() if one.dtype == object else one.tobytes())
        for name, one in arrays.items()
    }
