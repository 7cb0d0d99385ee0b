"""Kernels of notebooks, forked from a process that has imported the libraries of others: that takes most of their time.

Their workers are forked too, and their measurements hasty. A notebook that lacks an import of its own still fails: the
patches bind no name in it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from ipykernel import kernelapp
from jupyter_client.provisioning import local_provisioner

SERVER = "forkserver"
ROOT = str(Path(__file__).resolve().parents[1])
IMPORTED = [
    "ipykernel.kernelapp",
    "jinja2",
    "onnxruntime.quantization",
    "onnxscript.function_libs.torch_lib.ops",
    "pydantic.main",
    "pytest",
    "scipy.special",
    "torch._dynamo",
    "torch.export._trace",
    "torch.onnx",
    "torchvision",
]


def _serve(begun: Connection, command: Sequence[str], environment: Mapping[str, str], folder: str | None) -> None:
    """Run a kernel as its command line says, after the name of the module."""
    os.setsid()
    begun.send(None)
    os.environ.clear()
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    sys.path.insert(0, ROOT)
    from tests.hasty import in_haste
    from tests.warm_workers import forked_workers

    sys.path.remove(ROOT)  # a notebook finds what is installed
    with in_haste(), forked_workers():
        kernelapp.launch_new_instance(argv=list(command[3:]))


class Kernel:
    """A forked kernel with the members of ``subprocess.Popen`` that Jupyter uses."""

    stdin = stdout = stderr = None

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: str | None = None, **_: Any) -> None:
        context = multiprocessing.get_context(SERVER)
        context.set_forkserver_preload(IMPORTED)
        waiting, begun = context.Pipe(duplex=False)
        self._process = context.Process(target=_serve, args=(begun, command, env, cwd))
        self._process.start()
        begun.close()
        waiting.recv()  # Jupyter sends signals to the group of a kernel, which must not be ours
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.is_alive() and self.pid is not None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def warm_kernels() -> Iterator[None]:
    """Kernels are forked where the system can."""
    with pytest.MonkeyPatch.context() as patch:
        if SERVER in multiprocessing.get_all_start_methods():
            patch.setattr(local_provisioner, "launch_kernel", Kernel)
        yield
    forkserver._forkserver._stop()  # other tests have it import other modules
