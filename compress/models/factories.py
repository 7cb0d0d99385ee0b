"""Factories of models: torchvision's and timm's by name, and any other importable one."""

from __future__ import annotations

import ast
import fnmatch
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from certify.core.callables import FORM, import_callable, importing_from_here
from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from certify.model_file.suffixes import PROGRAM
from compress.models import timm, torchvision

LIST_HINT = "See leanmark models."
FORMS = (
    "A model is a name listed by leanmark models, package.module:factory, hf:FOLDER, ORG/NAME on the Hugging Face "
    "Hub, or an .onnx file."
)
WEIGHT_FILES = (".bin", ".ckpt", ".pt", PROGRAM, ".pth", ".safetensors", ".tar")


def names(pattern: str | None = None) -> list[str]:
    """Return the names of all torchvision classifiers, or those of timm if the pattern begins with ``timm:``.

    Args:
        pattern: a part of the name, or a shell pattern (``*``, ``?``, ``[...]``); None for all.

    Example:
        >>> names("resnet15?")
        ['resnet152']
    """
    of_timm = pattern is not None and pattern.startswith(timm.PREFIX)
    known = timm.names() if of_timm else torchvision.names()
    if pattern is None:
        return known
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return [name for name in known if fnmatch.fnmatch(name, pattern.lower())]


def unknown_model(spec: str) -> UsageError:
    """Return the error for an unknown model, with the right spelling for a path, a dotted name or a weight file."""
    path, _, name = spec.partition(":")
    if Path(path).suffix == ".py":
        parts = [part for part in Path(path).with_suffix("").parts if part != "."]
        found = name or _only_definition(Path(path))
        return UsageError(
            f"Model '{spec}' is the path of a Python file; write {'.'.join(parts)}:{found}, and run the command in the "
            f"folder that contains {parts[0]}."
        )
    if Path(spec).suffix in WEIGHT_FILES:
        return UsageError(
            f"Model '{spec}' is a weight file; name the model that it belongs to: "
            f"package.module:factory --weights {spec}"
        )
    module, dot, name = spec.rpartition(".")
    with importing_from_here():
        if dot and FORM.fullmatch(f"{module}:{name}") and importlib.util.find_spec(module.split(".")[0]):
            return UsageError(f"Model '{spec}' has a dot before its last name, not a colon; write {module}:{name}.")
    return unknown_name("model", spec, names(), FORMS)


def _only_definition(path: Path) -> str:
    """Return the only public class or function of a file, or a placeholder; nothing is run."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return "FACTORY"
    defined = [node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_"]
    return defined[0] if len(defined) == 1 else "FACTORY"


def import_factory(factory: str) -> Callable[..., Any]:
    """Import ``package.module:callable``; see :func:`certify.core.callables.import_callable`."""
    return import_callable(factory, "model", names(), LIST_HINT)
