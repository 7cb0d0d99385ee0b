"""Time to verify a large sealed file, including the start of the process.

Run ``python tests/benchmarks/verify_speed.py``; it prints seconds and is not a test, since it would fail on a busy
machine.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from _bench import options, run
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = 25_000_000
LAYERS = 50

VERIFY = """
import sys, time
began = time.perf_counter()
from certify import verify
verification = verify(sys.argv[1])
took = time.perf_counter() - began
print(f"verify: exit {verification.exit_code}, derived again: {verification.derived}, {took:.2f} s")
"""

DIGESTS = """
import sys, time
from pathlib import Path
from certify.model_file.onnx_file.content import content_digest
from certify.model_file.onnx_file.messages import parse_model
from certify.model_file.onnx_file.seal import file_digest
path = Path(sys.argv[1])
began = time.perf_counter(); file_digest(path)
print(f"file digest {time.perf_counter() - began:.2f} s")
began = time.perf_counter(); model = parse_model(path)
print(f"parse {time.perf_counter() - began:.2f} s")
began = time.perf_counter(); content_digest(model)
print(f"content digest {time.perf_counter() - began:.2f} s")
"""


def large_model() -> onnx.ModelProto:
    """About 100 MB of convolutions, as many as ResNet-50 has."""
    rng = np.random.default_rng(0)
    side = int((WEIGHTS / LAYERS / 9) ** 0.5)
    weights, nodes, flow = [], [], "image"
    for layer in range(LAYERS):
        inputs = 3 if layer == 0 else side
        kernel = rng.standard_normal((side, inputs, 3, 3), dtype=np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [flow, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        flow = f"r{layer}"
    nodes += [
        helper.make_node("GlobalAveragePool", [flow], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", side])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _cpu_s() -> float:
    """CPU seconds of all processes that this one started and waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> None:
    """Certify a large model with made-up evidence, and time a fresh process that verifies it."""
    options(__doc__).parse_args()
    here = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(here.parent), str(here / "certify" / "attest"), str(here / "certify" / "efficiency")]
    from conftest import contract, facts_of, write_papers  # type: ignore[import-not-found]
    from synthetic import make_evidence, observed_in  # type: ignore[import-not-found]

    from certify.attest.keys import generate
    from certify.data.contract_slot import normalise
    from certify.data.dataset import samples_digest

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(large_model(), folder / "foreign.onnx")
        normalise(folder / "foreign.onnx", folder / "candidate.onnx", contract(input_name="image"))
        facts, predictions = facts_of(folder / "candidate.onnx"), make_evidence().predictions
        digest = samples_digest((p.digest for p in predictions), (p.label for p in predictions))
        data = {"name": "made up", "spec": "made up", "test_samples": 1500, "test_digest": digest, "classes": 10}
        observed = observed_in(folder / "candidate.onnx", folder / "candidate.onnx")
        header = {"models": {"baseline": facts, "candidate": facts}, "data": data}
        evidence = make_evidence(header=header, observations=observed)
        key = generate(folder / "k.key")
        model = write_papers(folder / "out", folder / "candidate.onnx", evidence, key, contract(input_name="image"))
        (folder / "out" / "baseline.onnx").unlink()
        print(f"{model.stat().st_size / 1e6:.0f} MB")
        subprocess.run([sys.executable, "-c", DIGESTS, model], check=True, cwd=here.parent)
        before, began = _cpu_s(), time.perf_counter()
        subprocess.run([sys.executable, "-c", VERIFY, model], check=True, cwd=here.parent)
        took_s, cpu_s = time.perf_counter() - began, _cpu_s() - before
        print(f"process {took_s:.2f} s in all, {cpu_s:.2f} s of them on the CPU")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    run(main)
