"""Programs exported by torch, on an NVIDIA GPU (https://docs.pytorch.org/docs/stable/export.html).

For GPUs without ONNX Runtime or TensorRT. It runs a ``.pt2`` file as ``torch.export.save`` wrote it; the file is
checked first and loaded from its checked parts alone (see certify.model_file.pt2.archive), since torch itself would
unpickle what a file says is pickled. The program's operators run one by one, as exported: there is no graph optimiser
that could be off, and no Q/DQ pair is ever fused. TF32 is off; cuDNN tries its algorithms and takes the fastest.

CUDA returns before a GPU is done: every inference here ends with its output in the machine's memory, and both ends of
a window wait for the device (https://docs.pytorch.org/docs/stable/notes/cuda.html#asynchronous-execution).
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
from certify.model_file.pt2.archive import SUFFIX, Exported, loadable, read_exported

QUANTIZERS = "torch.ops.quantized_decomposed."
INSTALL = "Install a build of torch for CUDA (https://pytorch.org/get-started/locally), or use another runtime."


DAMAGED = (
    RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, SyntaxError,
)  # fmt: skip
"""What torch raises over a program that was damaged, besides errors of its own."""


class TorchCuda:
    """Adapter of torch on a GPU.

    Args:
        kind: torch's name of the device; another than ``cuda`` is for trying the plumbing out.
    """

    device = "cuda"
    suffix = SUFFIX
    precision = "as in the model, without TF32"
    spinning = False
    writes_graph = False
    times_nodes = False

    def __init__(self, kind: str = "cuda") -> None:
        self.provider = kind
        self.own_providers = frozenset({kind})

    def unavailable(self) -> str | None:
        """Whether torch is installed and sees a GPU; see :meth:`certify.measure.runtimes.base.Runtime.unavailable`."""
        try:
            version = self.version()
        except metadata.PackageNotFoundError:
            return f"The runtime torch-cuda needs torch, which is not installed. {INSTALL}"
        import torch

        if self.provider == "cuda" and not torch.cuda.is_available():
            return f"The runtime torch-cuda needs an NVIDIA GPU, and torch {version} sees none. {INSTALL}"
        return None

    def version(self) -> str:
        """Version of the installed torch."""
        return metadata.version("torch")

    def libraries(self) -> dict[str, str]:
        """Versions of torch and of the CUDA and cuDNN that it was built with."""
        import torch

        cudnn: Any = torch.backends.cudnn
        versions = {"torch": self.version(), "cuda": torch.version.cuda, "cudnn": cudnn.version()}
        return {name: str(version) for name, version in versions.items() if version is not None}

    def accelerator(self) -> Mapping[str, Any]:
        """The GPU, its memory and its driver."""
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
        ModelError: torch can't load it.
    """
    import torch
    from torch._export.verifier import SpecViolationError
    from torch.export.passes import move_to_device_pass

    if any(node["target"].startswith(QUANTIZERS) for node in exported.graph["nodes"]):
        importlib.import_module("torch.ao.quantization.fx._decomposed")  # where torch registers them
    logging.getLogger("torch.export").setLevel(logging.ERROR)  # it tells of a failure twice: here, and by raising
    try:
        program = torch.export.load(loadable(exported))
        return move_to_device_pass(program, device)
    except (*DAMAGED, SpecViolationError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{exported.path}: torch {torch.__version__} can't load it: {reason}") from error


class TorchSession:
    """One loaded program.

    Args:
        program: on its device.
        device: torch's name of it.
        options: that it was opened with.
        path: of the file, for error messages.
    """

    def __init__(self, program: Any, device: str, options: SessionOptions, path: Path) -> None:
        outputs = [spec.arg.name for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"]
        if options.output_name not in outputs:
            raise ModelError(f"{path}: has no output '{options.output_name}', only {', '.join(outputs)}.")
        self._position = outputs.index(options.output_name)
        self._program = program
        self._device = device
        self._options = options
        self._call = program.module(check_guards=False)

    def prepare(self, batch: Array) -> Any:
        """The feed of one batch, in the device's memory."""
        import torch

        return torch.from_numpy(batch.copy()).to(self._device)

    def run(self, feed: Any) -> Array:
        """One inference; the scored output, once it is in the machine's memory."""
        import torch
        from torch.utils._pytree import tree_leaves

        with torch.inference_mode():
            output = tree_leaves(self._call(feed))[self._position]
            if output.dtype == torch.bfloat16:  # numpy has none
                output = output.float()
            values: Array = output.cpu().numpy().copy()
        return values

    def synchronize(self) -> None:
        """Wait until the GPU is done."""
        import torch

        if self._device == "cuda":
            torch.cuda.synchronize()

    def facts(self) -> dict[str, Any]:
        """What was set up, and the devices on which the program's values lie."""
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
        """None: torch times kernels of the GPU, not nodes of the program."""
        return []

    def _places(self) -> list[tuple[str, str]]:
        """Name and kind of device of every tensor of the graph."""
        import torch

        values = ((node.name, node.meta.get("val")) for node in self._program.graph.nodes)
        return [(name, value.device.type) for name, value in values if isinstance(value, torch.Tensor)]
