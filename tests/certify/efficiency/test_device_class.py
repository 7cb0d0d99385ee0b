from __future__ import annotations

from typing import Any

import pytest

from certify.assessments.efficiency.device_class import device_class

CPU = {"runtime": "onnxruntime-cpu", "threads": 2, "candidate_threads": 2}


@pytest.mark.parametrize(
    ("processor", "instructions", "told"),
    [
        ("Intel(R) Xeon(R) Platinum 8488C", ["amx_int8", "avx2", "avx512_vnni", "avx512f", "avx_vnni"],
         "Intel Xeon Platinum 8488C (AVX512-VNNI, AMX)"),
        ("AMD EPYC 9R14 96-Core Processor", ["avx2", "avx512_vnni", "avx512f"], "AMD EPYC 9R14 (AVX512-VNNI)"),
        ("Intel(R) Core(TM) i7-1260P CPU @ 2.10GHz", ["avx2", "avx_vnni"], "Intel Core i7-1260P (AVX-VNNI)"),
        ("Intel(R) Xeon(R) Gold 6138", ["avx2", "avx512f"], "Intel Xeon Gold 6138 (AVX-512)"),
        ("AMD EPYC 7742", ["avx2"], "AMD EPYC 7742 (AVX2)"),
        ("aarch64", ["asimddp", "i8mm", "sve"], "aarch64 (DotProd, I8MM)"),
        ("Some", [], "Some"),
        ("Some", None, "Some"),
        (None, [["avx2"]], "an unnamed processor"),
    ],
)  # fmt: skip
def test_class_holds_only_what_was_recorded(processor: Any, instructions: Any, told: str) -> None:
    assert device_class({"processor": processor, "instructions": instructions}, CPU) == f"{told}, 2 threads"


def test_class_names_both_thread_numbers_when_they_differ() -> None:
    assert device_class({}, {**CPU, "candidate_threads": 1}) == "an unnamed processor, 1 thread (baseline 2)"


def test_accelerator_is_the_class_only_when_it_was_used() -> None:
    device = {"processor": "Some", "accelerator": "NVIDIA H100"}
    assert device_class(device, {**CPU, "runtime": "torch-cuda"}) == "NVIDIA H100"
    assert device_class(device, CPU) == "Some, 2 threads"
