"""Exported torch programs on an NVIDIA GPU (https://docs.pytorch.org/docs/stable/export.html).

For GPUs without ONNX Runtime or TensorRT. It runs ``.pt2`` files written by ``torch.export.save``; a file is checked
first and loaded only from its checked parts (see certify.model_file.pt2.archive), since torch itself would unpickle
whatever a file declares as pickled. The program's operators run one by one, as exported: there is no graph optimiser,
and Q/DQ pairs are never fused. TF32 is off; cuDNN tries its algorithms and uses the fastest.

CUDA calls return before the GPU is done: every inference here ends with its output in main memory, and both ends of a
window synchronise with the device (https://docs.pytorch.org/docs/stable/notes/cuda.html#asynchronous-execution).
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from certify.core.errors import ModelError
from certify.measure import machine
from certify.measure.runtimes.accelerators import nvidia
from certify.measure.runtimes.base import Array, NodeRun, SessionOptions
from certify.model_file.pt2.archive import Exported, loadable, read_exported
from certify.model_file.suffixes import PROGRAM

QUANTIZERS = "torch.ops.quantized_decomposed."
INSTALL = "Install a build of torch for CUDA (https://pytorch.org/get-started/locally), or use another runtime."


DAMAGED = (
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, SyntaxError,
)  # fmt: skip
"""Errors that torch raises for a damaged program, besides its own error classes."""


class TorchCuda:
    """Adapter for torch on a GPU.

    Args:
        kind: torch's name of the device; other values than ``cuda`` are for tests.
    """

    device = "cuda"
    suffix = PROGRAM
    precision = "as in the model, without TF32"
    spinning = False
    writes_graph = False
    times_nodes = False

    def __init__(self, kind: str = "cuda") -> None:
        self.provider = kind
        self.own_providers = frozenset({kind})

    def unavailable(self) -> str | None:
        """Return why torch cannot be used here; see :meth:`.Runtime.unavailable`."""
        try:
            version = self.version()
        except metadata.PackageNotFoundError:
            return f"The runtime torch-cuda requires torch, which is not installed. {INSTALL}"
        import torch

        if self.provider == "cuda" and not torch.cuda.is_available():
            return f"The runtime torch-cuda requires an NVIDIA GPU, but torch {version} finds none. {INSTALL}"
        return None

    def version(self) -> str:
        """Return the version of the installed torch."""
        return metadata.version("torch")

    def libraries(self) -> dict[str, str]:
        """Return the versions of torch, and of the CUDA and cuDNN that it was built with."""
        import torch

        cudnn: Any = torch.backends.cudnn
        versions = {"torch": self.version(), "cuda": torch.version.cuda, "cudnn": cudnn.version()}
        return {name: str(version) for name, version in versions.items() if version is not None}

    def accelerator(self) -> Mapping[str, Any]:
        """Return the GPU, its memory and its driver."""
        return nvidia() if self.provider == "cuda" else {}

    def open(self, path: Path, options: SessionOptions) -> TorchSession:
        """Load a program; see :meth:`certify.measure.runtimes.base.Runtime.open`."""
        import torch

        machine.pin(options.cores[:1])
        torch.set_num_threads(options.threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        program = load_program(read_exported(path), self.provider)
        return TorchSession(program, self.provider, options, path)


def load_program(exported: Exported, device: str) -> Any:
    """Load a checked program onto a device.

    Returns:
        A ``torch.export.ExportedProgram``.

    Raises:
        ModelError: torch cannot load it.
    """
    import torch
    from torch._export.verifier import SpecViolationError
    from torch.export.passes import move_to_device_pass

    # Importing the module has the side effect of registering its operators.
    if any(node["target"].startswith(QUANTIZERS) for node in exported.graph["nodes"]):
        importlib.import_module("torch.ao.quantization.fx._decomposed")  # registers the quantized operators
    logging.getLogger("torch.export").setLevel(logging.ERROR)  # it would report a failure twice: here, and by raising
    try:
        program = torch.export.load(loadable(exported))
        return move_to_device_pass(program, device)
    except (*DAMAGED, SpecViolationError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{exported.path}: torch {torch.__version__} cannot load it: {reason}") from error


class TorchSession:
    """A loaded program.

    Args:
        program: the program on its device.
        device: torch's name of the device.
        options: options that it was opened with.
        path: path of the file, for error messages.
    """

    def __init__(self, program: Any, device: str, options: SessionOptions, path: Path) -> None:
        outputs = [spec.arg.name for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"]
        if options.output_name not in outputs:
            raise ModelError(f"{path} has no output '{options.output_name}'; its outputs are {', '.join(outputs)}.")
        self._position = outputs.index(options.output_name)
        self._program = program
        self._device = device
        self._options = options
        self._call = program.module(check_guards=False)

    def prepare(self, batch: Array) -> Any:
        """Return the feed of one batch, in the device's memory."""
        import torch

        return torch.from_numpy(batch.copy()).to(self._device)

    def run(self, feed: Any) -> Array:
        """Run one inference, and return the scored output once it is in main memory."""
        import torch
        from torch.utils._pytree import tree_leaves

        with torch.inference_mode():
            output = tree_leaves(self._call(feed))[self._position]
            if output.dtype == torch.bfloat16:  # NumPy has no bfloat16
                output = output.float()
            # Copied, because the caller owns the array and a program on the processor may return its own memory.
            values: Array = output.cpu().numpy().copy()
        return values

    def synchronize(self) -> None:
        """Wait until the GPU is done."""
        import torch

        if self._device == "cuda":
            torch.cuda.synchronize()

    def facts(self) -> dict[str, Any]:
        """Return the actual settings, and the devices of the program's values."""
        import torch

        return {
            "providers": sorted({kind for _, kind in self._places()}),
            "elsewhere": sorted(name for name, kind in self._places() if kind != self._device),
            "graph_optimization": "all",
            "threads": torch.get_num_threads(),
            "spinning": False,
            "precision": TorchCuda.precision,
        }

    def nodes(self) -> list[NodeRun]:
        """Return nothing: torch times GPU kernels, not nodes of the program."""
        return []

    def _places(self) -> list[tuple[str, str]]:
        """Return the name and kind of device of every tensor of the graph."""
        import torch

        values = ((node.name, node.meta.get("val")) for node in self._program.graph.nodes)
        return [(name, value.device.type) for name, value in values if isinstance(value, torch.Tensor)]
