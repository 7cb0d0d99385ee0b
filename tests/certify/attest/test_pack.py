"""One file with a certified model and its sidecar files: equal for equal folders, and opened only where it is plain."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from certify.attest.keys import SigningKey
from certify.attest.pack import MAX_FILES, model_in, pack, unpacked
from certify.cli.main import main
from certify.core.errors import CertificateError, NotDerivedError, UsageError


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(certified: Path, tmp_path: Path) -> Path:
    """A certified model's folder, with a file that does not belong to it."""
    copy = Path(shutil.copytree(certified, tmp_path / "graded.v1"))
    (copy / "notes.txt").write_text("mine")
    return copy


def written(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_pack_is_judged_like_its_folder_when_opened(folder: Path, key: SigningKey, tmp_path: Path) -> None:
    packing = run("pack", folder)
    assert packing.exit_code == 0, packing.output
    path = tmp_path / "graded.v1.zip"
    assert str(path) in packing.stdout and "notes.txt" not in packing.stdout
    for name in ("baseline.onnx", "certificate.json", "evidence.jsonl", "label.svg", "lineage.json", "model.onnx",
                 "signer.pub"):  # fmt: skip
        assert name in packing.stdout
    shutil.rmtree(folder)
    for command in ("verify", "audit", "gate"):
        assert run(command, path, "--trust", key.public.hex).exit_code == 0
    assert run("verify", path, "--strict").exit_code == 4
    assert run("report", path).stdout == f"{tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graded.v1.zip", "report.html"]


def test_pack_is_refused_when_the_command_writes_next_to_the_model(folder: Path, tmp_path: Path) -> None:
    path, _ = pack(folder)
    done = run("countersign", path)
    assert done.exit_code == 2 and "unpack it and pass the folder" in done.stderr
    assert run("countersign", folder).exit_code == 0


def test_pack_has_equal_bytes_when_the_folder_is_equal(folder: Path, tmp_path: Path) -> None:
    first, _ = pack(folder, tmp_path / "a.zip")
    other = shutil.copytree(folder, tmp_path / "other", copy_function=shutil.copyfile)
    second, _ = pack(other, tmp_path / "b.zip")
    assert first.read_bytes() == second.read_bytes()


def test_pack_is_not_made_when_the_folder_could_not_be_audited(folder: Path, tmp_path: Path) -> None:
    (folder / "evidence.jsonl").unlink()
    with pytest.raises(NotDerivedError):
        pack(folder)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes().replace(b"scores", b"scoreZ"))
    with pytest.raises(CertificateError, match="not valid"):
        pack(folder)
    assert not (tmp_path / "graded.v1.zip").exists()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("members", "kind", "told"),
    [
        ([("../escaped.onnx", b"x")], 0, "name"),
        ([("/tmp/escaped.onnx", b"x")], 0, "name"),
        ([("C:\\escaped.onnx", b"x")], 0, "name"),
        ([("statements/../../escaped.json", b"x")], 0, "name"),
        ([("other/escaped.json", b"x")], 0, "name"),
        ([("model.onnx", b"x"), ("Model.onnx", b"y")], 0, "twice"),
        ([(link("model.onnx"), b"/etc/passwd")], 0, "regular file"),
        ([("model.onnx", b"\0" * 10_000_000)], zipfile.ZIP_DEFLATED, "compressed"),
        ([(f"f{number}", b"") for number in range(MAX_FILES + 1)], 0, "more than"),
    ],
)  # fmt: skip
def test_pack_is_refused_when_it_holds_files_that_are_never_packed(
    tmp_path: Path, members: list[Any], kind: int, told: str
) -> None:
    path = written(tmp_path / "hostile.zip", *members, kind=kind)
    with pytest.raises(CertificateError, match=told), unpacked(path):
        pass
    assert run("verify", path).exit_code == 1
    assert [p.name for p in tmp_path.iterdir()] == ["hostile.zip"]


def test_pack_is_refused_when_its_files_overlap(tmp_path: Path) -> None:
    path = written(tmp_path / "bomb.zip", ("model.onnx", b"x" * 50_000))
    content = path.read_bytes()
    start = content.index(b"PK\1\2")
    entry, end = content[start : content.index(b"PK\5\6")], content[content.index(b"PK\5\6") :]
    entries = entry + b"".join(entry.replace(b"model.onnx", b"model%d.bin" % n) for n in range(3))[: 3 * len(entry)]
    counted = end[:8] + b"\4\0\4\0" + len(entries).to_bytes(4, "little") + end[16:]
    path.write_bytes(content[:start] + entries + counted)
    with pytest.raises(CertificateError, match="total size exceeds"), unpacked(path):
        pass


@pytest.mark.parametrize("content", [b"", b"PK\3\4 not a pack", b"PK\5\6" + b"\0" * 18])
def test_error_names_the_pack_when_it_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.zip"
    path.write_bytes(content)
    done = run("verify", path)
    assert done.exit_code == 2 and done.stderr.startswith("Error: "), done.output


def test_pack_is_damaged_when_a_byte_was_changed(folder: Path, tmp_path: Path) -> None:
    path, _ = pack(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert run("verify", path).exit_code in (1, 2)


def test_folder_means_its_model_when_given(folder: Path, key: SigningKey) -> None:
    for command in ("verify", "audit"):
        assert run(command, folder, "--trust", folder / "signer.pub").exit_code == 0
    assert run("report", folder).stdout == f"{folder / 'report.html'}\n"
    assert model_in(folder) == folder / "model.onnx"
    (folder / "model.onnx").rename(folder / "net.onnx")
    assert model_in(folder) == folder / "net.onnx"
    shutil.copyfile(folder / "net.onnx", folder / "other.onnx")
    with pytest.raises(UsageError, match=r"net\.onnx, other\.onnx"):
        model_in(folder)


def test_error_names_the_folder_when_it_holds_no_model(tmp_path: Path) -> None:
    done = run("verify", tmp_path, "--json")
    assert done.exit_code == 2 and "no model" in done.stdout


def test_pack_leaves_links_out_when_a_folder_holds_some(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (folder / "countersignatures").mkdir()
    (folder / "countersignatures" / "notes.txt").symlink_to(secret)
    assert not any("notes" in name for name in pack(folder)[1])
