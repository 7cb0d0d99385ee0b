"""Surroundings of a worker: interpreter options, environment variables and module search path.

A worker must run the same regardless of who starts it. Its interpreter is isolated (``-I``: no ``PYTHON*`` variables,
no user site, no current folder; ``-S``: no ``sitecustomize``, no code in ``.pth`` files). Its environment holds only
the variables named in :mod:`certify.core.surroundings`, so that ``ORT_*``, ``OMP_*``, ``KMP_*`` and ``LD_PRELOAD`` do
not reach it. Packages come from the interpreter's site folders and from folders that ``.pth`` files there name, as for
editable installs. Packages that are only on ``PYTHONPATH``, or provided by an import hook, are not found.

Both models' files have the same name, in folders with random names.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import certify
from certify.core.callables import importing_from_here
from certify.core.errors import MeasureError
from certify.core.surroundings import PASSED_ON, SET, SYSTEM
from certify.measure import start_worker

ISOLATED = ("-I", "-S")


def command() -> list[str]:
    """Return the command line of a worker."""
    package = Path(certify.__file__).parents[1]
    return [sys.executable, *ISOLATED, start_worker.__file__, str(package), *search_path()]


def environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables of a worker.

    Args:
        variables: environment variables of this process.

    Example:
        >>> made = environment({"PATH": "/bin", "OMP_WAIT_POLICY": "passive", "LD_LIBRARY_PATH": "/home/me"})
        >>> sorted(made)
        ['LC_ALL', 'MKL_NUM_THREADS', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'PATH']
    """
    passed = {name: variables[name] for name in PASSED_ON if variables.get(name)}
    # Only the system's folders: one of the user's own could put another library in place of the measured one.
    libraries = [folder for folder in passed.pop("LD_LIBRARY_PATH", "").split(os.pathsep) if is_system(folder)]
    return {**passed, **({"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {}), **SET}


def is_system(path: str) -> bool:
    """Return whether a file or folder belongs to the operating system.

    Example:
        >>> is_system("/usr/lib/libm.so.6"), is_system("/usr2/libm.so.6"), is_system("/usr/../home/libm.so.6")
        (True, False, False)
    """
    return os.path.normpath(path).startswith(tuple(f"{folder}/" for folder in SYSTEM))


def search_path() -> tuple[str, ...]:
    """Return the site folders, and the folders that ``.pth`` files there name, without running code in them."""
    own = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    named = [folder for home in own for folder in _named_by_pth(Path(home))]
    return tuple(dict.fromkeys([*filter(os.path.isdir, own), *named]))


def _named_by_pth(home: Path) -> Iterator[str]:
    for file in sorted(home.glob("*.pth")):
        for line in file.read_text(errors="replace").splitlines():
            folder = home / line.strip()
            # Python's site module executes lines that begin with import.
            if line.strip() and not line.startswith(("#", "import ", "import\t")) and folder.is_dir():
                yield str(folder)


def plug_in_folders(place: str) -> list[str]:
    """Return where a worker looks for the module of a third-party runtime, after all installed packages.

    Args:
        place: ``package.module:Name``.

    Returns:
        The folder from which this process imported the module, and the working folder.
    """
    top = place.partition(":")[0].partition(".")[0]
    with importing_from_here():
        spec = importlib.util.find_spec(top)
    homes = [] if spec is None else [*(spec.submodule_search_locations or []), *([spec.origin] if spec.origin else [])]
    return [*(str(Path(home).resolve().parent) for home in homes[:1]), str(Path.cwd())]


def neutral(path: Path, weights: Sequence[Path], suffix: str, folder: Path) -> Path:
    """Give a model a path that does not reveal which of the two it is.

    The file and its weights are linked, or copied if they are on another file system. Sidecar files with weights keep
    their names, which the model refers to.

    Args:
        path: the model file.
        weights: sidecar files with its weights.
        suffix: suffix of its kind of file.
        folder: parent of the new folder with a random name.

    Returns:
        The file to run.

    Raises:
        MeasureError: there is not enough space for a copy.
    """
    place, home = Path(tempfile.mkdtemp(prefix="", dir=folder)), path.resolve().parent
    file = place / f"model{suffix}"
    # A hard link costs neither time nor space for gigabytes of weights.
    for source, target in [(path, file), *((weight, place / weight.resolve().relative_to(home)) for weight in weights)]:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _link(source.resolve(), target)
        except OSError as error:
            raise MeasureError(
                f"{source} cannot be copied to {target.parent} ({error.strerror or error}); make room there, or set "
                "TMPDIR to a folder on the model's own file system."
            ) from error
    return file


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, one without links, or a file of another user
        shutil.copyfile(source, target)
