"""What may reach the process that runs a model, and what is recorded of it; measuring and judging share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from certify.core.observed import Observed

PASSED_ON = (
    "HOME", "PATH", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_DEVICE_ORDER", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES",
)  # fmt: skip
"""Variables of the environment that a worker gets as they are: where temporary files and the driver's cache of compiled
kernels go, and which GPU is used. Of ``LD_LIBRARY_PATH`` only the folders in :data:`SYSTEM` are kept."""

SYSTEM = ("/lib", "/lib64", "/usr", "/opt")
"""Folders of the system's own libraries, by what their paths begin with."""

SET = {"LC_ALL": "C.UTF-8", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Variables that every worker gets: numpy starts no threads of its own, and file names are read as UTF-8."""

CUSTOMIZED = ("sitecustomize", "usercustomize")
"""Modules that an interpreter imports by itself where it is not isolated."""

OWN_LIBRARIES = {
    "onnxruntime-cpu": "onnxruntime/",
    "onnxruntime-cuda": "onnxruntime/",
    "onnxruntime-tensorrt": "onnxruntime/",
    "openvino": "openvino/",
    "openvino-bf16": "openvino/",
    "torch-cuda": "torch/",
}
"""What the name of a library of each runtime's own begins with."""


@dataclass(frozen=True)
class WorkerSurroundings(Observed):
    """In what surroundings the workers of a model ran; by arm.

    Attributes:
        isolated: whether the interpreter ignored the user's environment, start-up modules and folders.
        variables: names of all variables of its environment, as it was started.
        customized: those of :data:`CUSTOMIZED` that were loaded.
        libraries: hex SHA-256 of the shared libraries that were loaded with the model, by name: of a package, its
            path from where packages are installed; else the file's name after ``system/``, ``python/`` or ``other/``.
    """

    NAME = "surroundings"
    isolated: Any
    variables: list[Any]
    customized: list[Any]
    libraries: Any


def stated_libraries(libraries: dict[str, str]) -> dict[str, str]:
    """The libraries whose digests a certificate states: not those of the system and of Python itself."""
    return {name: digest for name, digest in libraries.items() if not name.startswith(("system/", "python/"))}
