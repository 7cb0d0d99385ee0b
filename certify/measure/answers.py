"""Outputs of a model for any samples, in a separate worker, without a measurement."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import ModelError
from certify.data.dataset import Split
from certify.data.preprocess import Preprocess
from certify.data.scoring import Scores, score
from certify.measure import runtimes
from certify.measure.client import Worker
from certify.measure.inputs import parts, save_samples
from certify.measure.model_under_test import session_settings
from certify.model_file.model_file import open_model

BATCH = 50
EXPECTED_S = 10.0
"""Seconds expected for one sample; a worker counts as hanging after :data:`certify.measure.client.SLOWER` times
that."""


class Answers:
    """A model to query; a context manager that ends its worker.

    Args:
        path: the model file.
        contract: its preprocessing contract.
        classes: number of classes of the data.
        runtime: name of the runtime.
        threads: intra-op threads.
        graph_optimization: level of the runtime's optimiser: ``none``, ``basic``, ``extended`` or ``all``.
        arm: name used in errors.

    Raises:
        UsageError: the runtime does not exist.
        ModelError: the file cannot be fed or loaded.
    """

    def __init__(
        self,
        path: Path,
        contract: Preprocess,
        classes: int,
        *,
        runtime: str = "onnxruntime-cpu",
        threads: int = 1,
        graph_optimization: str = "all",
        arm: str = "model",
    ) -> None:
        runtimes.check(runtime)
        self.path, self.contract, self.classes, self.arm = path, contract, classes, arm
        self.queries = 0
        with open_model(path) as model:
            self.batch = _batch(model.check_feedable, contract)
            weights = model.weights_files()
        settings = session_settings(
            runtime,
            threads,
            contract.input_names,
            contract.output_name,
            input_shape=contract.port_shape(self.batch),
            weights=weights,
        )
        self._folder = tempfile.TemporaryDirectory(prefix="leanmark-answers-")
        try:
            self._worker = Worker(arm, path, {**settings, "graph_optimization": graph_optimization})
        # Also catches Ctrl-C, because without this object nothing would remove the folder.
        except BaseException:
            self._folder.cleanup()
            raise

    def outputs(self, split: Split, indices: Sequence[int] | None = None) -> npt.NDArray[np.float32]:
        """Return the outputs for samples, in their order, float32 (n, ...).

        Raises:
            DataError: a sample cannot be decoded.
        """
        chosen = list(range(len(split))) if indices is None else [int(i) for i in indices]
        folder = Path(self._folder.name)
        samples, outputs = folder / "samples.npy", folder / "outputs.npy"
        found = []
        for part in parts(len(chosen), self.contract.sample_bytes(), self.batch):
            save_samples(samples, split, [chosen[i] for i in part], self.contract)
            self._worker.predict(samples, outputs, self.batch, EXPECTED_S * len(part))
            found.append(np.load(outputs))
        self.queries += len(chosen)
        answers: npt.NDArray[np.float32] = np.concatenate(found)
        return answers

    def scores(self, split: Split) -> Scores:
        """Score every sample of a non-empty split.

        Raises:
            ModelError: the output does not have one column per class of the data.
        """
        return self.read(self.outputs(split), split.labels)

    def read(self, outputs: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> Scores:
        """Score outputs of this model."""
        try:
            return score(outputs, labels, self.contract.class_map, self.classes, None, self.contract.reading)
        except ModelError as error:
            raise ModelError(f"{self.path} ({self.arm}): {error}") from error

    def close(self) -> None:
        """End the worker."""
        self._worker.close()
        self._folder.cleanup()

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _batch(check_feedable: Any, contract: Preprocess) -> int:
    """Return the default batch, or 1 for a model that takes one sample at a time."""
    try:
        check_feedable(contract, BATCH)
    except ModelError:
        check_feedable(contract, 1)
        return 1
    return BATCH
