"""Scores of an ONNX file run in ONNX Runtime; nothing here loads torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from certify.data.dataset import Split
from certify.data.preprocess import Preprocess
from certify.data.scoring import Scores, score_split
from compress.core import onnx_session


def file_accuracy(path: Path, split: Split, preprocess: Preprocess, classes: int, *, as_here: bool = False) -> float:
    """Return the share of a split's samples that an ONNX file classifies correctly; see :func:`file_scores`."""
    return file_scores(path, split, preprocess, classes, as_here=as_here).accuracy


def file_scores(
    path: Path, split: Split, preprocess: Preprocess, classes: int, batch: int = 64, *, as_here: bool = False
) -> Scores:
    """Score each sample of a split with an ONNX file, run in ONNX Runtime; see :func:`onnx_session.session`.

    Raises:
        ModelError: ONNX Runtime cannot load or run the file, or its outputs do not fit the data or are not finite.
    """
    session = onnx_session.session(path, as_here=as_here)
    outputs = []
    size = session.get_inputs()[0].shape[0]
    step = size if isinstance(size, int) else batch
    for begin in range(0, len(split), step):
        wanted = [min(i, len(split) - 1) for i in range(begin, begin + step)]  # a fixed batch size needs full batches
        outputs += onnx_session.run(session, [preprocess.output_name], preprocess.feed(split, wanted))
    whole = np.concatenate(outputs)[: len(split)]
    return score_split(whole, split, preprocess.class_map, classes, reading=preprocess.reading)
