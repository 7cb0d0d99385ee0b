from __future__ import annotations

import copy
import csv
import re
from pathlib import Path

import pytest

import compress
from certify.data import default_preprocess
from compress.testing.networks import blobs, network
from compress.training import epochs
from compress.training.training import TrainingConfig, train

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


class WrongArguments(compress.TrainingCallback):
    def on_epoch_end(self, epoch, figures):
        raise AssertionError


class WrongName(compress.TrainingCallback):
    def on_epoch_ends(self, training, epoch, figures):
        raise AssertionError


class ByKeyword(compress.TrainingCallback):
    def on_epoch_end(self, *, training, epoch, figures):
        raise AssertionError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: Noted(), "must be a list of instances .*write callbacks="),
        (lambda: None, "must be a list of instances"),
        (lambda: [print], "must be instances of"),
        (lambda: [WrongArguments()], r"WrongArguments.on_epoch_end must take \(training, epoch, figures\)"),
        (lambda: [ByKeyword()], r"ByKeyword.on_epoch_end must take"),
        (lambda: [WrongName()], "Unknown method of the training callback WrongName 'on_epoch_ends'.*'on_epoch_end'"),
    ],
)
def test_callback_that_could_never_be_called_is_refused_before_the_work(given, words, monkeypatch) -> None:
    monkeypatch.setattr(compress.Finetune, "apply", None)
    with pytest.raises(compress.UsageError, match=words):
        compress.apply(compress.Finetune(epochs=2), network("residual"), blobs(), preprocess=PIXELS, callbacks=given())


@pytest.mark.parametrize("method", ["on_epoch_end", "on_train_end"])
def test_training_resumes_after_the_last_epoch_when_a_callback_raises(method, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(epochs, "KEPT_AFTER_S", 0.0)
    data, noted = blobs(), Noted()
    job = {"config": TrainingConfig(epochs=2), "resume": tmp_path / "state"}
    net = network("residual")

    def fail(*_):
        raise RuntimeError("the disk of the logger is full")

    broken = Noted()
    setattr(broken, method, fail)
    with pytest.raises(RuntimeError, match="logger"):
        train(copy.deepcopy(net), data, default_preprocess(data), callbacks=[broken], **job)
    assert train(net, data, default_preprocess(data), callbacks=[noted], **job).epochs_done == 2
    first = 2 if method == "on_epoch_end" else 3
    assert [call[2] for call in noted.calls if call[0] == "epoch"] == list(range(first, 3))
    assert not (tmp_path / "state").exists()


def test_logger_of_the_guide_writes_a_row_for_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    exec(compile(block, str(GUIDE), "exec"), {})
    rows = list(csv.reader((tmp_path / "training.csv").open()))
    assert [row[:2] for row in rows] == [["Fine-tuning", "1"], ["Fine-tuning", "2"]]
    assert all(float(loss) > 0 and 0 <= float(accuracy) <= 1 for _, _, loss, accuracy in rows)
