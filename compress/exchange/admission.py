"""Trial run of a user's ONNX file, before any pass works on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import ModelError
from certify.core.input_mapping import by_input
from certify.data.preprocess import Preprocess
from certify.data.scoring import score, score_split
from certify.model_file.onnx_graph.load import check_feedable, inputs, load_model
from certify.model_file.onnx_graph.operators import CONTRIB_DOMAIN, STANDARD_DOMAINS
from compress.core import onnx_session
from compress.core.context import PassData

BY_CHANCE = 1e-3
"""Difference between the outputs of two runs, as a share of the largest, that is not rounding."""
COUPLED = 0.1
"""Difference between a sample's outputs alone and in a batch, likewise; dynamic ranges cause some percent."""
KNOWN_DOMAINS = STANDARD_DOMAINS | {CONTRIB_DOMAIN, "ai.onnx.ml"}


def admit(path: Path, contract: Preprocess, data: PassData, batch: int | None = None) -> None:
    """Reject a file that does not fit the contract, or that ONNX Runtime cannot load and run.

    Args:
        path: path of the file.
        contract: preprocessing contract of its input.
        data: data whose classes its output must fit; one or two samples are tried.
        batch: samples in one measured inference; None for the file's own batch size.

    Raises:
        ModelError: the file cannot be used; the error says why, and what to do.
    """
    model = load_model(path, weights=False)
    stated = next((port.shape[:1] for port in inputs(model) if port.name == contract.input_names[0]), ())
    fixed = next((size for size in stated if isinstance(size, int)), None)
    check_feedable(model, contract, batch or fixed or 1)
    try:
        session = onnx_session.session(path)
    except ModelError as error:
        local = {function.domain for function in model.functions}
        foreign = sorted({f"{n.domain}:{n.op_type}" for n in model.graph.node if n.domain not in KNOWN_DOMAINS | local})
        if not foreign:
            raise ModelError(f"{error} Export or repair the file.") from error
        raise ModelError(
            f"The model has operators that ONNX Runtime does not support: {', '.join(foreign)}; export it without them."
        ) from error
    split = data.validation or data.calibration or data.train
    # Try two batch sizes, because a file exported with a fixed batch fails with one of them; the first twice.
    seen: list[npt.NDArray[Any]] = []
    for size in (fixed, fixed) if fixed else (1, 1, 2):
        chosen = np.arange(size) % len(split) if split else np.arange(size)
        samples = contract.batch(split, chosen) if split else contract.noise(size)
        try:
            (outputs,) = onnx_session.run(session, [contract.output_name], by_input(contract.input_names, samples))
            seen.append(np.asarray(outputs)[:1])
            if split:
                score_split(
                    outputs, split.subset(chosen), contract.class_map, len(data.classes), reading=contract.reading
                )
            else:
                score(outputs, np.zeros(size), contract.class_map, len(data.classes), reading=contract.reading)
        except ModelError as error:
            if size != 2 or fixed:
                raise
            raise ModelError(
                "The model states a free batch but does not run on two samples; export it with a batch of 1, or with "
                f"a truly free batch. {error}"
            ) from error
    for other, limit, what in zip(
        seen[1:], (BY_CHANCE, COUPLED), ("differ from run to run", "depend on the rest of the batch"), strict=False
    ):
        if float(np.abs(other - seen[0]).max()) > limit * float(np.abs(seen[0]).max()):
            raise ModelError(f"The model's outputs for one sample {what}; export it in evaluation mode.")
