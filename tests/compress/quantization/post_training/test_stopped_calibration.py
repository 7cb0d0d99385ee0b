"""A calibration that the user stops ends its bar before the job says that it stopped."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from certify.core.progress import Silent
from compress.passes.quantize_static import QuantizeStatic
from compress.quantization.post_training import quantizer


class Noted(Silent):
    """Notes when tasks end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    @contextlib.contextmanager
    def task(self, description, total=None):
        try:
            with super().task(description, total) as bar:
                yield bar
        finally:
            self.ended.append(description)


def test_bar_of_the_calibration_has_ended_when_the_error_is_caught(onnx_file, context, monkeypatch) -> None:
    def stopped(graph, recorders, feeds, advance):
        advance(1)
        raise KeyboardInterrupt

    progress = Noted()
    monkeypatch.setattr(quantizer, "record", stopped)
    with pytest.raises(KeyboardInterrupt) as error:
        QuantizeStatic(samples=16).apply(onnx_file, replace(context, progress=progress))
    assert error.tb is not None and "Calibrating" in progress.ended  # the traceback keeps the feeds alive
