"""Which processor this is, by made-up lists of flags."""

from __future__ import annotations

import pytest

from certify.core.errors import UsageError
from compress.core import targets
from compress.core.targets import TARGETS, choose, detect
from compress.passes.fast_kernels import FastKernels
from compress.passes.quantize_embeddings import QuantizeEmbeddings
from compress.passes.quantize_static import QuantizeStatic


@pytest.mark.parametrize(
    ("flags", "machine", "name"),
    [
        ("fpu avx2 avx512f avx512_vnni", "x86_64", "cpu-vnni"),
        ("fpu avx2 avx_vnni", "x86_64", "cpu-vnni"),
        ("fpu avx2 avx512f", "x86_64", "cpu-avx2"),
        ("fp asimd", "aarch64", "cpu-arm"),
    ],
)
def test_target_follows_the_flags(tmp_path, flags, machine, name):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert detect(cpuinfo, machine).name == name


def test_target_is_the_safe_one_when_flags_cannot_be_read(tmp_path):
    target = detect(tmp_path / "absent", "x86_64")
    assert target.name == "cpu-avx2"
    assert target.reduce_range


def test_only_the_saturating_targets_reduce_the_range():
    assert [name for name, target in TARGETS.items() if target.reduce_range] == ["cpu-avx2", "openvino-avx2"]
    assert all(target.saturates == target.reduce_range for target in TARGETS.values())


@pytest.mark.parametrize(
    ("here", "name"), [("cpu-vnni", "openvino-vnni"), ("cpu-avx2", "openvino-avx2"), ("cpu-arm", "openvino")]
)
def test_openvino_has_the_instructions_of_this_machine(here, name, monkeypatch):
    monkeypatch.setattr(targets, "detect", lambda: TARGETS[here])
    assert choose("openvino").name == name
    assert choose(name).name == name
    assert [choose(each).name for each in ("openvino-vnni", "openvino-avx2")] == ["openvino-vnni", "openvino-avx2"]
    assert QuantizeStatic(target="openvino").config()["target"] == name
    assert FastKernels(target="openvino").target == QuantizeEmbeddings(target="openvino").target == name


def test_unknown_target_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'cpu-vnni'"):
        choose("cpu-vnn")
