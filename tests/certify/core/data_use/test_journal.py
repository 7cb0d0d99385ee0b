"""A journal that begins again, and a policy that is replaced while data are read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from governed_data import KEY, LATER, RESEARCH, START, Clock, governed, policy, receipt

from certify.core.data_use.folder import MadeModel, UseFolder
from certify.core.data_use.guard import Guard, Use
from certify.core.data_use.merkle import root_of
from certify.core.errors import CertificateError, NotPermittedError


def bind_again(folder: UseFolder, parts: dict[str, list[str]]) -> None:
    every = [one for ones in parts.values() for one in ones]
    folder.bind(policy(every, name="again"), every, START)


def made(records: list[str]) -> MadeModel:
    seen = tuple(sorted(records))
    return MadeModel("aa" * 32, "bb" * 32, "model", "/m.onnx", LATER, "cc" * 32, RESEARCH, ("train",),
                     root_of(seen), seen)  # fmt: skip


def test_model_is_listed_when_the_end_of_the_journal_was_cut_off(tmp_path: Path) -> None:
    _, folder, parts = governed(tmp_path)
    before, model = folder.journal_path.read_bytes(), made(parts["train"][:2])
    folder.add_model(model)
    folder.journal_path.write_bytes(before)
    assert list(folder.models()) == [model]
    (listed,) = (folder.path / "models").iterdir()
    listed.write_bytes(listed.read_bytes().replace(parts["train"][0].encode(), b"ab" * 32))
    with pytest.raises(CertificateError, match="differs from the list"):
        list(folder.models())


@pytest.mark.parametrize("left", ["receipts", "models"])
def test_policy_is_not_bound_again_when_the_journal_of_earlier_uses_was_removed(tmp_path: Path, left: str) -> None:
    _, folder, parts = governed(tmp_path)
    if left == "receipts":
        folder.add([receipt(parts["train"][:2])])
    else:
        folder.add_model(made(parts["train"][:2]))
    before = folder.policy_path.read_bytes()
    for emptied in (lambda: folder.journal_path.write_bytes(b""), folder.journal_path.unlink):
        emptied()
        with pytest.raises(CertificateError, match="restore the journal"):
            bind_again(folder, parts)
        assert folder.policy_path.read_bytes() == before


def test_policy_is_bound_after_a_crash_before_the_first_line_of_the_journal(tmp_path: Path) -> None:
    _, folder, parts = governed(tmp_path)
    folder.journal_path.unlink()
    bind_again(folder, parts)
    assert folder.untouched()[0].name == "again"


def test_journal_begun_again_does_not_continue_that_of_an_earlier_statement(tmp_path: Path) -> None:
    """A known limit: alone it looks like a first one; only the end stated earlier is missing from it."""
    _, folder, parts = governed(tmp_path)
    stated = folder.journal().head
    Guard(folder, Use(RESEARCH, "", KEY), Clock()).require("train", "train")
    assert stated in folder.journal().heads, "an honest journal continues"
    folder.journal_path.unlink()
    bind_again(folder, parts)
    assert folder.untouched()[0].name == "again" and stated not in folder.journal().heads


def test_decision_is_refused_when_another_policy_is_bound_meanwhile(tmp_path: Path) -> None:
    _, folder, parts = governed(tmp_path)
    guard = Guard(folder, Use(RESEARCH, "", KEY), Clock())
    guard.require("train", "train")
    lines = len(folder.journal().entries)
    folder.enter({"kind": "policy", "time": START, "policy": "cd" * 32})
    with pytest.raises(NotPermittedError, match="was replaced while it was read"):
        guard.require("calibrate", "calibration")
    assert len(folder.journal().entries) == lines + 1
