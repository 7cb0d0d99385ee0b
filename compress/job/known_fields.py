"""Fields of a preprocessing contract that are known before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from certify.core.errors import DataError
from certify.data import Split
from certify.data.contract_slot import contract_in
from certify.data.dataset import BIG_SIZE, input_size
from certify.data.folders import FileSource, image_files
from certify.data.images import BIG_RESIZE
from certify.model_file.model_file import ModelFile, open_model


def contract_of_file(path: Path) -> dict[str, Any] | None:
    """Return the contract fields that follow from an ONNX file's inputs and outputs; None if it has a contract.

    Raises:
        ModelError: the file is missing or damaged.
    """
    with open_model(path) as file:
        return None if contract_in(file) is not None else fields_of_ports(file)


def fields_of_ports(file: ModelFile) -> dict[str, Any]:
    """Return the contract fields that follow from a file's inputs and outputs."""
    inputs, outputs = file.ports() or ((), ())
    known: dict[str, Any] = {"reading": "logits"}
    for field, ports in (("input_name", inputs), ("output_name", outputs)):
        if len(ports) == 1:
            known[field] = ports[0].name
    shape = inputs[0].shape if len(inputs) == 1 else ()
    layouts = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)} if len(shape) == 4 else {}
    fitting = {name: dimensions for name, dimensions in layouts.items() if shape[dimensions[0]] in (1, 3)}
    # Only if one layout fits: (1, 3, 3, 3) could be either.
    if len(fitting) == 1:
        ((known["layout"], (_, height, width)),) = fitting.items()
        sides = {"height": shape[height], "width": shape[width]}
        known |= {name: side for name, side in sides.items() if isinstance(side, int)}
        if shape[layouts[known["layout"]][0]] == 1:
            known["colour"] = "L"
    if len(inputs) == 1 and inputs[0].dtype in ("float32", "float16"):
        known["dtype"] = inputs[0].dtype
    return known


def size_of_data(spec: str) -> dict[str, Any]:
    """Return the size and resizing that compress chooses by default, from the first image of a folder.

    Other data gives an empty result.

    Raises:
        DataError: the folder holds no image, or the first one cannot be decoded.
    """
    scheme, _, rest = spec.partition(":")
    folder = Path(rest if scheme == "imagefolder" else spec).expanduser()
    if not (rest if scheme == "imagefolder" else folder.is_dir()):
        return {}
    first = next(image_files(folder), None)
    if first is None:
        raise DataError(f"{folder}: no images found in this folder; give a folder with one subfolder per class.")
    height, width = size = input_size([Split(FileSource([first]), [0])])
    big = size == BIG_SIZE
    resizing = {"resize": BIG_RESIZE if big else "exact", "crop": "center" if big else "none"}
    return {"height": height, "width": width, **resizing}
