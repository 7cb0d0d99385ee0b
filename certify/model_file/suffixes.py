"""Suffixes of the built-in kinds of model files; no other module asks for them by name."""

from __future__ import annotations

from pathlib import PurePath

ONNX = ".onnx"
PROGRAM = ".pt2"
"""A program written by ``torch.export.save``."""


def is_onnx(name: str | PurePath) -> bool:
    """Return whether a file, or a model as a user names it, has the suffix of ONNX files, in either case.

    Example:
        >>> is_onnx("nets/small.ONNX"), is_onnx("resnet18")
        (True, False)
    """
    return str(name).lower().endswith(ONNX)
