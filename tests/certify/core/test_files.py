from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from certify.core.files import copy, link_new, replacing, sha256_file, write_bytes, write_text


def test_file_is_unchanged_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_bytes(path, b"old")
    with pytest.raises(OSError, match="No space") as error, replacing(path) as beside:
        beside.write_bytes(b"half of the n")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_when_writing_is_interrupted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "new") as beside:
        beside.write_bytes(b"half")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["folder", "", "long" * 100])
def test_error_names_the_given_path_when_it_cannot_be_written(
    tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError) as raised:
        write_text(Path(target), "text")
    assert raised.value.filename == str(Path(target))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"] and not list((tmp_path / "folder").iterdir())


def test_written_files_are_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "made" / "note.txt"
    write_text(path, "größer")
    assert path.read_bytes() == "größer".encode()
    assert path.stat().st_mode & 0o444 == 0o444
    copy(path, tmp_path / "copy.txt")
    assert (tmp_path / "copy.txt").read_bytes() == path.read_bytes()


def test_digest_is_sha256_when_the_file_spans_chunks(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    write_bytes(tmp_path / "big", content)
    assert sha256_file(tmp_path / "big") == hashlib.sha256(content).hexdigest()


def test_text_is_written_when_it_names_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.yaml", "# \udcff.onnx")
    assert (tmp_path / "recipe.yaml").read_text() == "# \\udcff.onnx"


def test_secret_is_copied_when_the_file_system_has_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a.key").write_bytes(b"secret")
    link_new(tmp_path / "a.key", tmp_path / "b.key")
    assert (tmp_path / "b.key").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "b.key").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        link_new(tmp_path / "a.key", tmp_path / "b.key")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipe_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "a label")
        assert os.read(reader, 100) == b"a label"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_device_is_not_replaced_when_it_is_a_link_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("certify.core.files.DEVICES", tmp_path / "dev")
    shown, device = tmp_path / "shown.txt", tmp_path / "dev" / "stdout"
    shown.write_text("before, ")
    device.parent.mkdir()
    device.symlink_to(shown)
    write_text(device, "after")
    assert device.is_symlink() and shown.read_text() == "before, after"
