"""An interrupted job resumes; a different job starts over; foreign folders are not touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from certify.core.errors import UsageError
from certify.core.progress import Silent
from certify.data import default_preprocess
from compress.job import recipe
from compress.job.context import fingerprint, make_context
from compress.job.lineage import describe_data
from compress.job.original import OriginalModel
from compress.job.workspace import FOLDER, STATE, Workspace
from compress.testing.networks import network


class Heard(Silent):
    def __init__(self):
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)


def _finished(workspace, name):
    file = workspace.path(f"{name}.bin")
    file.write_bytes(b"x")
    workspace.finish(name, file, notes={"a": 1})


def test_finished_step_is_reused_and_reported(tmp_path):
    _finished(Workspace(tmp_path, {"seed": 0}, Silent()), "first")
    heard = Heard()
    again = Workspace(tmp_path, {"seed": 0}, heard)
    step = again.finished("first")
    assert step.notes == {"a": 1}
    assert heard.said == ["first: done in an earlier run, skipped."]
    assert again.finished("second") is None


def test_job_starts_over_with_a_message_when_anything_differs(tmp_path):
    _finished(Workspace(tmp_path, {"seed": 0}, Silent()), "first")
    heard = Heard()
    other = Workspace(tmp_path, {"seed": 1}, heard)
    assert other.finished("first") is None
    assert "starting over" in heard.said[0]
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == [STATE]


def test_fingerprint_differs_when_only_a_group_column_differs(dataset):
    contract = default_preprocess(dataset)
    original = OriginalModel("nets:one", "built", None, None, contract, "given", network("residual"))

    def of(sex):
        given = replace(dataset, train=dataset.train.grouped({"sex": np.resize(sex, len(dataset.train))}))
        context = make_context(original, given, target=None, seed=0, progress=Silent())
        return fingerprint(original, recipe.load("int8"), describe_data(given), context)

    first, same, other = of(["f", "m"]), of(["f", "m"]), of(["f", "m", "m"])
    assert first == same != other


@pytest.mark.parametrize(("name", "depends"), [("prune", True), ("int8", False)])
def test_fingerprint_differs_by_the_runtime_when_a_pass_measures_in_it(dataset, name, depends):
    contract = default_preprocess(dataset)
    original = OriginalModel("nets:one", "built", None, None, contract, "given", network("residual"))

    def of(runtime):
        context = make_context(original, dataset, target=None, seed=0, progress=Silent(), runtime=runtime)
        return fingerprint(original, recipe.load(name), describe_data(dataset), context)

    assert (of(None) != of("onnxruntime-cpu")) is depends
    assert of("openvino") == of("openvino")


def test_steps_after_a_lost_file_are_repeated(tmp_path):
    workspace = Workspace(tmp_path, {}, Silent())
    for name in ("first", "second", "third"):
        _finished(workspace, name)
    workspace.path("second.bin").unlink()
    again = Workspace(tmp_path, {}, Silent())
    assert again.finished("first") is not None
    assert again.finished("second") is None
    assert again.finished("third") is None


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 99}'])
def test_job_starts_over_when_the_state_is_damaged(tmp_path, damaged):
    workspace = Workspace(tmp_path, {}, Silent())
    _finished(workspace, "first")
    workspace.path(STATE).write_bytes(damaged)
    assert Workspace(tmp_path, {}, Silent()).finished("first") is None


def test_foreign_folder_is_refused_and_kept(tmp_path):
    theirs = tmp_path / FOLDER / "thesis.tex"
    theirs.parent.mkdir()
    theirs.write_text("years of work")
    with pytest.raises(UsageError, match="not leanmark's"):
        Workspace(tmp_path, {}, Silent())
    assert theirs.read_text() == "years of work"


def test_nothing_remains_after_removal(tmp_path):
    workspace = Workspace(tmp_path, {}, Silent())
    _finished(workspace, "first")
    workspace.remove()
    assert list(tmp_path.iterdir()) == []
