"""Surroundings of the process that runs a model, as allowed and recorded; shared by measuring and judging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from certify.core.observation import Observed

PASSED_ON = (
    "HOME", "PATH", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
)  # fmt: skip
"""Environment variables passed on to a worker: the locations of temporary files and of the driver's kernel cache, and
the choice of GPU. Of ``LD_LIBRARY_PATH`` only folders in :data:`SYSTEM` are kept."""

SYSTEM = ("/lib", "/lib64", "/usr", "/opt")
"""Path prefixes of the system's own libraries."""

SET = {"LC_ALL": "C.UTF-8", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Variables set for every worker: NumPy starts no threads, and file names are UTF-8."""

CUSTOMIZED = ("sitecustomize", "usercustomize")
"""Modules that an interpreter imports at startup unless isolated."""

OWN_LIBRARIES = {
    "onnxruntime-cpu": "onnxruntime/",
    "onnxruntime-cuda": "onnxruntime/",
    "onnxruntime-tensorrt": "onnxruntime/",
    "openvino": "openvino/",
    "openvino-bf16": "openvino/",
    "torch-cuda": "torch/",
}
"""Name prefixes of each runtime's own libraries."""


@dataclass(frozen=True)
class WorkerSurroundings(Observed):
    """Surroundings of a model's workers; by arm.

    Attributes:
        isolated: whether the interpreter ignored the user's environment, start-up modules and folders.
        variables: names of all variables of its initial environment.
        customized: loaded modules of :data:`CUSTOMIZED`.
        libraries: hex SHA-256 of the shared libraries loaded with the model, by name: for packages the path below the
            site folder; otherwise the file name after ``system/``, ``python/`` or ``other/``.
    """

    NAME = "surroundings"
    isolated: Any
    variables: list[Any]
    customized: list[Any]
    libraries: Any


def stated_libraries(libraries: dict[str, str]) -> dict[str, str]:
    """Return the libraries whose digests a certificate states: all except those of the system and of Python."""
    return {name: digest for name, digest in libraries.items() if not name.startswith(("system/", "python/"))}
