from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

import compress
from compress.testing.networks import blobs, network

GUIDE = Path(__file__).resolve().parents[3] / "recipes" / "guides" / "training-callbacks.md"
PIXELS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


class Noted(compress.TrainingCallback):
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def on_train_begin(self, training, epochs):
        self.calls.append(("begin", training, epochs))

    def on_epoch_end(self, training, epoch, figures):
        self.calls.append(("epoch", training, epoch, sorted(figures)))

    def on_train_end(self, training, figures):
        self.calls.append(("end", training, sorted(figures)))


def test_callback_is_called_after_each_epoch_when_a_pass_trains() -> None:
    noted = Noted()
    compress.apply(compress.Finetune(epochs=2), network("residual"), blobs(), preprocess=PIXELS, callbacks=[noted])
    figures = ["loss", "seconds", "validation_accuracy"]
    assert noted.calls == [
        ("begin", "Fine-tuning", 2),
        ("epoch", "Fine-tuning", 1, figures),
        ("epoch", "Fine-tuning", 2, figures),
        ("end", "Fine-tuning", ["best_epoch", "epochs_done", "seconds", "validation_accuracy"]),
    ]


def test_callback_is_refused_before_the_work_when_invalid() -> None:
    with pytest.raises(compress.UsageError, match="must be instances of compress.TrainingCallback, got <class"):
        compress.apply(compress.Finetune(epochs=2), network("residual"), blobs(), preprocess=PIXELS, callbacks=[Noted])


def test_logger_of_the_guide_writes_a_row_for_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    exec(compile(block, str(GUIDE), "exec"), {})
    rows = list(csv.reader((tmp_path / "training.csv").open()))
    assert [row[:2] for row in rows] == [["Fine-tuning", "1"], ["Fine-tuning", "2"]]
    assert all(float(loss) > 0 and 0 <= float(accuracy) <= 1 for _, _, loss, accuracy in rows)
