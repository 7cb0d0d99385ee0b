"""Peak memory of calibration at 32 and at 2,048 samples: it must not grow with their number.

Run ``python tests/benchmarks/calibration_memory.py [--quick]``; it prints MiB and is not a test. It uses ResNet-18 at
64 x 64 pixels with random weights and noise images generated on demand; each run is a separate process (Linux).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _bench import options, run

SIZE, BATCH = 64, 16
SAMPLES = (32, 2048)
METHODS = ("minmax", "mse")


def noise(samples: int, name: str) -> Iterator[dict[str, np.ndarray]]:
    """Batches of noise."""
    random = np.random.default_rng(0)
    for _ in range(samples // BATCH):
        yield {name: random.standard_normal((BATCH, 3, SIZE, SIZE), dtype=np.float32)}


def calibrate(path: Path, samples: int, method: str) -> None:
    """Calibrate once, and print the peak resident memory in MiB."""
    from compress.core.targets import TARGETS
    from compress.onnx_graph.graph import Graph
    from compress.quantization.post_training.calibration import observe
    from compress.quantization.post_training.prepare import prepared
    from compress.quantization.post_training.qdq import observed_names, plan

    graph = Graph(prepared(path, path.parent))
    names = observed_names(graph, plan(graph, TARGETS["cpu-vnni"], "auto", ()))
    observe(graph, names, noise(samples, graph.model.graph.input[0].name), histograms=method != "minmax")
    lines = Path("/proc/self/status").read_text().splitlines()  # getrusage would count the parent's memory too
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024)


def main() -> None:
    """Export once, then calibrate in fresh processes."""
    given = options(__doc__, "one method, and 256 samples").parse_args()
    sizes, methods = ((32, 256), METHODS[:1]) if given.quick else (SAMPLES, METHODS)
    import torch
    import torchvision

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "resnet18.onnx")
        model = torchvision.models.resnet18(num_classes=10).eval()
        torch.onnx.export(
            model, (torch.zeros(2, 3, SIZE, SIZE),), path, dynamo=True, external_data=False,
            dynamic_shapes=({0: torch.export.Dim.AUTO},), verbose=False,
        )  # fmt: skip
        for method in methods:
            peaks = []
            for samples in sizes:
                command = [sys.executable, __file__, str(path), str(samples), method]
                peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            shown = ", ".join(f"{peak:.0f} MiB at {n:,} samples" for n, peak in zip(sizes, peaks, strict=True))
            print(f"{method}: {shown}, ratio {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        calibrate(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    else:
        run(main)
