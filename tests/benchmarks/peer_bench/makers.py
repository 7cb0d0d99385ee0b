"""The makers of int8 files, each run alone in a process: ``python -m peer_bench.makers NAME FOLDER OUT``.

A maker reads a job, quantizes its float file on the job's calibration arrays, and writes the file into OUT, with a
``result.json`` of its time, peak memory and version. Settings are those that the tools' own documents advise for a CPU.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.measure.machine import processor_flags
from certify.measure.own_process import peak_memory_bytes
from peer_bench.job import RESULT, Job

MODEL = "model"
"""Stem of every file made: OpenVINO looks for the weights of ``model.xml`` in ``model.bin``."""
INTERMEDIATE = 8
"""Samples whose activations ONNX Runtime's histograms keep at a time; without a limit it keeps them all."""


class Declined(Exception):
    """A maker that leaves the file as it is; the message says why."""


@dataclass(frozen=True)
class Maker:
    """One way to make an int8 file.

    Attributes:
        title: how tables call it.
        package: distribution whose version counts; also the peer's name.
        module: what must be importable.
        make: writes the file into a folder and returns its path.
        own: whether it is leanmark's.
        settings: settings in a few words.
        hint: why it may not be installed, after "is not installed here".
        instruction: what the processor must have for it, as /proc/cpuinfo calls it.
    """

    title: str
    package: str
    module: str
    make: Callable[[Job, Path], Path]
    own: bool = False
    settings: str = ""
    hint: str = ""
    instruction: str = ""

    def missing(self) -> str | None:
        """Return why it cannot run here, in one sentence, or None."""
        if importlib.util.find_spec(self.module) is None:
            return f"not made: the package {self.package} is not installed here{self.hint}"
        if self.instruction and self.instruction not in processor_flags():
            return f"not made: this processor has no {self.instruction}"
        return None


def _leanmark(job: Job, out: Path, target: str | None) -> Path:
    from certify.core.errors import LeanmarkError
    from certify.data import Dataset
    from certify.data.array_contract import ArrayPreprocess
    from certify.data.named_arrays import named_split
    from compress.core.targets import choose
    from compress.job import recipe
    from compress.passes import PassContext, PassData

    def split(part: str) -> Any:
        samples = job.samples(part)
        arrays = {job.inputs[0]: samples} if len(job.inputs) == 1 else {
            name: samples[:, place] for place, name in enumerate(job.inputs)
        }  # fmt: skip
        return named_split(arrays, job.labels(part), part)

    calibration = split("calibration")
    classes = tuple(map(str, range(job.classes)))
    # The test part is required; passes do not see it.
    dataset = Dataset("peers", "peers", classes, None, calibration, None, calibration, input_size=())
    shapes = tuple(job.shape(1)[1:] for _ in job.inputs)
    types = tuple(str(job.samples("calibration").dtype) for _ in job.inputs)
    contract = ArrayPreprocess(job.inputs, shapes, types, job.output, "logits")
    context = PassContext(PassData.without_test(dataset), contract, choose(target), workspace=out)
    made = job.float_file
    try:
        for applied in recipe.load(job.recipe).passes:
            made, record = applied.apply(made, context)
            if applied.name == "quantize_static" and not record.changed:
                raise Declined(record.declined[0].why)
    except LeanmarkError as error:
        raise Declined(str(error)) from error
    return made


def leanmark(job: Job, out: Path) -> Path:
    """Apply our recipe for this processor."""
    return _leanmark(job, out, None)


def leanmark_amx(job: Job, out: Path) -> Path:
    """Apply our recipe for processors with AMX, which times layers on this one."""
    return _leanmark(job, out, "cpu-amx")


def leanmark_openvino(job: Job, out: Path) -> Path:
    """Apply our recipe for OpenVINO."""
    return _leanmark(job, out, "openvino")


class _Reader:
    """Calibration samples one at a time, as ONNX Runtime asks for them."""

    def __init__(self, job: Job) -> None:
        self._left = iter(job.feeds("calibration"))

    def get_next(self) -> dict[str, Any] | None:
        return next(self._left, None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._left


def onnxruntime_default(job: Job, out: Path) -> Path:
    """Call ONNX Runtime's quantizer without settings."""
    from onnxruntime.quantization import quantize_static

    made = out / f"{MODEL}.onnx"
    quantize_static(job.float_file, made, _Reader(job))
    return made


def _onnxruntime(job: Job, out: Path, method: str) -> Path:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from compress.core.targets import choose

    prepared, made = out / "prepared.onnx", out / f"{MODEL}.onnx"
    quant_pre_process(str(job.float_file), str(prepared))
    quantize_static(
        prepared, made, _Reader(job), quant_format=QuantFormat.QDQ, per_channel=True,
        reduce_range=choose(None).reduce_range, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method],
        op_types_to_quantize=["MatMul", "Gemm", "Conv"] if job.transformer else None,
        extra_options={} if method == "MinMax" else {"CalibMaxIntermediateOutputs": INTERMEDIATE},
    )  # fmt: skip
    return made


def onnxruntime_best(job: Job, out: Path) -> Path:
    """Call ONNX Runtime's quantizer with what it advises for VNNI: prepared, U8S8, per channel, extremes."""
    return _onnxruntime(job, out, "MinMax")


def onnxruntime_percentile(job: Job, out: Path) -> Path:
    """The same with percentiles of histograms."""
    return _onnxruntime(job, out, "Percentile")


def onnxruntime_entropy(job: Job, out: Path) -> Path:
    """The same with ranges of least divergence."""
    return _onnxruntime(job, out, "Entropy")


def _nncf(job: Job, model: Any) -> Any:
    import nncf

    feeds = job.feeds("calibration")
    kind = nncf.ModelType.TRANSFORMER if job.transformer else None
    return nncf.quantize(
        model, nncf.Dataset(feeds), subset_size=len(feeds), target_device=nncf.TargetDevice.CPU, model_type=kind
    )


def nncf_openvino(job: Job, out: Path) -> Path:
    """Quantize OpenVINO's representation by NNCF."""
    import openvino

    made = out / f"{MODEL}.xml"
    openvino.save_model(_nncf(job, openvino.Core().read_model(str(job.float_file))), str(made))
    return made


def nncf_onnx(job: Job, out: Path) -> Path:
    """Quantize the ONNX graph by NNCF."""
    import onnx

    made = out / f"{MODEL}.onnx"
    onnx.save(_nncf(job, onnx.load(job.float_file)), made)
    return made


def aimet(job: Job, out: Path) -> Path:
    """Quantize by AIMET-ONNX, and write Q/DQ pairs for ONNX Runtime."""
    import aimet_onnx
    import onnx

    feeds = job.feeds("calibration")
    simulation = aimet_onnx.QuantizationSimModel(
        onnx.load(job.float_file), param_type=aimet_onnx.int8, activation_type=aimet_onnx.int8,
        providers=["CPUExecutionProvider"],
    )  # fmt: skip
    simulation.compute_encodings(feeds)
    made = out / f"{MODEL}.onnx"
    onnx.save(simulation.to_onnx_qdq(export_int32_bias=True, prequantize_constants=True), made)
    return made


def neural_compressor(job: Job, out: Path) -> Path:
    """Quantize by Intel's onnx-neural-compressor."""
    from onnx_neural_compressor import data_reader
    from onnx_neural_compressor.quantization import QuantFormat, QuantType, config, quantize

    class Reader(data_reader.CalibrationDataReader):
        def __init__(self) -> None:
            self.rewind()

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

        def rewind(self) -> None:
            self._left = iter(job.feeds("calibration"))

    made = out / f"{MODEL}.onnx"
    asked = config.StaticQuantConfig(
        Reader(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        per_channel=True,
    )  # fmt: skip
    quantize(str(job.float_file), str(made), asked)
    return made


ORT, NNCF = "onnxruntime", "nncf"
MAKERS: dict[str, Maker] = {
    "leanmark": Maker("leanmark", "leanmark", "compress", leanmark, own=True, settings="recipe for this processor"),
    "leanmark-amx": Maker(
        "leanmark for AMX", "leanmark", "compress", leanmark_amx, own=True, settings="target cpu-amx",
        instruction="amx_int8",
    ),
    "leanmark-openvino": Maker(
        "leanmark for OpenVINO", "leanmark", "openvino", leanmark_openvino, own=True, settings="target openvino"
    ),
    "ort-default": Maker("ONNX Runtime, defaults", ORT, ORT, onnxruntime_default, settings="S8S8, per tensor, minmax"),
    "ort-best": Maker("ONNX Runtime, best", ORT, ORT, onnxruntime_best, settings="U8S8, per channel, minmax"),
    "ort-percentile": Maker(
        "ONNX Runtime, percentile", ORT, ORT, onnxruntime_percentile, settings="U8S8, per channel, percentile"
    ),
    "ort-entropy": Maker("ONNX Runtime, entropy", ORT, ORT, onnxruntime_entropy, settings="U8S8, per channel, entropy"),
    "nncf-onnx": Maker("NNCF, ONNX", NNCF, NNCF, nncf_onnx, settings="preset performance"),
    "nncf-openvino": Maker("NNCF, OpenVINO", NNCF, NNCF, nncf_openvino, settings="preset performance"),
    "aimet": Maker("AIMET-ONNX", "aimet-onnx", "aimet_onnx", aimet, settings="W8A8, bias int32"),
    "inc": Maker(
        "Intel Neural Compressor", "onnx-neural-compressor", "onnx_neural_compressor", neural_compressor,
        settings="U8S8, per channel", hint=" (it requires numpy < 2, and so an environment of its own)",
    ),
}  # fmt: skip
"""By name."""


def main() -> None:
    """Make one file and report on this process."""
    name, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    maker = MAKERS[name]
    began = time.perf_counter()
    try:
        made = maker.make(Job.read(folder), out)
    except Declined as why:
        result: dict[str, Any] = {"declined": str(why)}
    else:
        result = {"file": str(made)}
    result |= {
        "wall_s": time.perf_counter() - began,
        "cpu_s": time.process_time(),  # the process's, imports included
        "peak_bytes": peak_memory_bytes(),
        "version": importlib.metadata.version(maker.package),
    }
    (out / RESULT).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
