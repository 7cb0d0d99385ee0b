"""Rewriting of operators for the fast kernels of ONNX Runtime's CPU provider."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from certify.core.input_mapping import by_input
from certify.model_file.onnx_graph.load import load_model
from certify.model_file.onnx_graph.slow_kernels import FORMS
from compress.core import onnx_file, onnx_session
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, PassRecord
from compress.core.targets import Target
from compress.onnx_graph.graph import Array

ONNX_RUNTIME = "cpu-"
"""Prefix of the names of targets that ONNX Runtime's CPU provider runs."""
COMPARED = 16
"""Number of samples on which outputs are compared."""
MOST_DIFFERENT = {False: 1e-3, True: 0.05}
"""Largest difference of an output, as a share of the largest one, by whether activations are quantized: a rounding
error may then move a value by a whole step."""


def write_for_kernels(path: Path, context: PassContext, target: Target) -> tuple[Path, PassRecord]:
    """Write a file that avoids slow kernels; return the given file, declined, if it already does.

    Args:
        path: path of an ONNX file.
        context: samples on which the outputs must not change, and the folder of the new file.
        target: target that will run it.

    Raises:
        ModelError: the file is damaged, or ONNX Runtime cannot load or run it.
    """
    if not target.name.startswith(ONNX_RUNTIME):
        return path, PassRecord.refused(f"the target {target.name} does not run it in ONNX Runtime on the CPU")
    model = load_model(path)
    samples = _samples(context)
    wanted = _outputs(model, samples, target)
    integers = any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in model.graph.node)
    written: dict[str, int] = {}
    declined = []
    for what, write in FORMS.items():
        tried = onnx.ModelProto()
        # Try forms one at a time, so that one that changes outputs too much does not cause the others to be rejected.
        tried.CopyFrom(model)
        if not (count := write(tried)):
            continue
        moved = np.abs(_outputs(tried, samples, target) - wanted).max() / max(
            np.abs(wanted).max(), np.finfo(np.float32).tiny
        )
        if moved <= MOST_DIFFERENT[integers]:
            # Compared with the original's outputs each time, so that differences do not add up unnoticed.
            model, written[what] = tried, count
        else:
            declined.append(Declined(f"{count} {what}", f"outputs move by {moved:.2g} of the largest one"))
    if not written:
        return path, PassRecord.refused("none of its operators would be written differently", declined)
    fast = (context.workspace or path.parent) / f"{path.stem}.fast.onnx"
    onnx_file.save(model, fast)
    return fast, PassRecord({"target": target.name, "written": written}, tuple(declined))


def _samples(context: PassContext) -> Array:
    data = context.data
    # A file without data can be rewritten too; noise then stands in for samples.
    has_samples = any(part is not None and len(part) for part in (data.calibration, data.validation, data.train))
    return context.samples(COMPARED) if has_samples else context.preprocess.noise(COMPARED)


def _outputs(model: onnx.ModelProto, samples: Array, target: Target) -> Array:
    """Return the outputs of a model, run on one sample at a time in case its batch is fixed."""
    running = onnx_session.session(model, as_here=target.saturates)
    names = [port.name for port in running.get_inputs()]
    fed = (by_input(names, samples[i : i + 1]) for i in range(len(samples)))
    return np.concatenate([onnx_session.run(running, None, feed)[0].ravel() for feed in fed])
