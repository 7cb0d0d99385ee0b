"""Actions of honest owners on graded models: those that must not raise an alarm, and those reported as changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
from graded import Graded, make
from tally import Tally


def false_alarms(folder: Path, count: int) -> Tally:
    """Untouched models, saved again, stripped or moved; and changed graphs, which must be called changed.

    Returns:
        How many were verified, and as missed those whose answer was wrong.
    """
    tally = Tally()
    for seed in range(count):
        home = make(folder / f"untouched{seed}", seed=seed + 2, ratio=0.2 + 0.01 * (seed % 50))
        for name, (treat, valid) in TREATMENTS.items():
            copy = home.copy(folder / f"untouched{seed}" / name.replace(" ", "-"))
            treat(copy)
            verification = copy.verify()
            tally.tried += 1
            names = {check.name for check in verification.failed}
            if verification.valid != valid or (not valid and "content_digest" not in names):
                tally.missed.append(f"model {seed}, {name}: {verification.verdict}")
        shutil.rmtree(folder / f"untouched{seed}")
    return tally


def _nothing(copy: Graded) -> None:
    pass


def _saved_again(copy: Graded) -> None:
    onnx.save(onnx.load(copy.model), copy.model)


def _saved_twice_in_other_order(copy: Graded) -> None:
    _saved_again(copy)
    content = onnx.load(copy.model).SerializeToString(deterministic=True)
    copy.model.write_bytes(content)


def _without_metadata(copy: Graded) -> None:
    _keep_metadata(copy, lambda key: not key.startswith("leanmark."))


def _without_any_metadata(copy: Graded) -> None:
    _keep_metadata(copy, lambda key: False)


def _without_foreign_metadata(copy: Graded) -> None:
    _keep_metadata(copy, lambda key: key.startswith("leanmark."))


def _with_another_author(copy: Graded) -> None:
    model = onnx.load(copy.model)
    next(entry for entry in model.metadata_props if entry.key == "author").value = "somebody else"
    onnx.save(model, copy.model)


def _keep_metadata(copy: Graded, wanted: Callable[[str], bool]) -> None:
    model = onnx.load(copy.model)
    kept = [(entry.key, entry.value) for entry in model.metadata_props if wanted(entry.key)]
    del model.metadata_props[:]
    for key, value in kept:
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, copy.model)


def _weights_beside(copy: Graded) -> None:
    model = onnx.load(copy.model)
    onnx.save(model, copy.model, save_as_external_data=True, location="weights.bin", size_threshold=0)


def _alone(copy: Graded) -> None:
    for path in copy.folder.iterdir():
        if path != copy.model:
            path.unlink()


def _optimised(copy: Graded) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(copy.folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(copy.model), options, providers=["CPUExecutionProvider"])
    (copy.folder / "optimised.onnx").replace(copy.model)


def _with_shapes(copy: Graded) -> None:
    model = onnx.load(copy.model)
    value = model.graph.value_info.add(name="features")
    value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, copy.model)


TREATMENTS: dict[str, tuple[Callable[[Graded], None], bool]] = {
    "untouched": (_nothing, True),
    "saved again by onnx": (_saved_again, True),
    "saved again twice": (_saved_twice_in_other_order, True),
    "stripped of leanmark's metadata": (_without_metadata, True),
    "stripped of all metadata": (_without_any_metadata, True),
    "one entry of its maker's metadata edited": (_with_another_author, False),
    "stripped of its maker's metadata alone": (_without_foreign_metadata, False),
    "weights in a file beside it": (_weights_beside, True),
    "model alone": (_alone, True),
    "optimised by onnxruntime": (_optimised, False),
    "shapes added": (_with_shapes, False),
}
"""What is done to a graded folder, and whether verify must still call it valid."""
