"""Data under a use policy: finding the policy, and the records that it permits.

The policy is in the folder ``PATH.use`` next to the data at ``PATH``. Data given in Python get a path by
:class:`certify.data.Placed`, which a user's function may return too; without one no policy is found for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from certify.core.data_use.folder import SUFFIX, UseFolder
from certify.core.data_use.guard import Guard, action_of, open_use
from certify.core.errors import NotPermittedError, UsageError
from certify.data.columns import drops
from certify.data.csv_spec import csv_files
from certify.data.data_path import Placed
from certify.data.dataset import Dataset
from certify.data.people import PEOPLE

SCHEMES = ("imagefolder", "npz", "arrays", "csv", *PEOPLE)
"""Prefixes of specifications that name files."""


def paths_of(spec: Any) -> list[Path]:
    """Return the files and folders that a data specification names.

    Example:
        >>> [path.name for path in paths_of("npz:train=a.npz,test=b.npz")]
        ['a.npz', 'b.npz']
    """
    if isinstance(spec, Placed):
        return [spec.place]
    if isinstance(spec, Path):
        return [spec]
    if not isinstance(spec, str) or not spec:
        return []
    scheme, _, rest = spec.partition(":")
    if scheme not in SCHEMES or not rest:
        return [Path(spec).expanduser()] if ":" not in spec else []
    if scheme == "csv":
        return csv_files(rest)
    place = Path(rest) if scheme == "imagefolder" else drops(rest)[0]
    if scheme in (*PEOPLE, "imagefolder") or "=" not in str(place):
        return [place.expanduser()]
    return [Path(part.partition("=")[2]).expanduser() for part in str(place).split(",")]


def use_folder(spec: Any) -> UseFolder | None:
    """Return the folder with the use policy of data, or None if no policy governs them.

    Raises:
        UsageError: the data are in several files, each with its own policy.
    """
    # The folder is resolved but the name is not, because a link to data is governed at the place that was named.
    places = [UseFolder.beside(path.parent.resolve() / path.name) for path in paths_of(spec) if path.name]
    # Several links to one folder mean one policy.
    found = {folder.path.resolve(): folder for folder in places if folder.governs}
    if len(found) > 1:
        raise UsageError(f"The data {spec} have {len(found)} use policies ({SUFFIX}); bind one policy to all of them.")
    return next(iter(found.values()), None)


def guard_of(spec: Any) -> Guard | None:
    """Return the guard that loaders of the data must ask, or None if no policy governs them.

    Raises:
        NotPermittedError: a policy governs the data, but no purpose was stated.
    """
    folder = use_folder(spec)
    if folder is None:
        return None
    use = open_use()
    if use is None:
        raise NotPermittedError(
            f"A use policy governs the data {spec} ({folder.policy_path}); state what they are used for with --purpose."
        )
    return Guard(folder, use)


def admitted(dataset: Dataset, guard: Guard) -> Dataset:
    """Return the records of a data set that may be used; parts that become empty, except test, are removed.

    Raises:
        NotPermittedError: no part may be read, or the test part becomes empty.
    """
    parts: Mapping[str, Any] = {name: split.guarded(guard, name) for name, split in dataset.parts.items()}
    if not len(parts["test"]):
        raise NotPermittedError(
            f"No record in the test part of '{dataset.name}' may be used for {guard.use.purpose}: none is both in the "
            "policy's list and covered by consent."
        )
    # The test part exists, as checked above.
    left: dict[str, Any] = {name: split if len(split) else None for name, split in parts.items()}
    return replace(dataset, **left)


def require_any(guard: Guard, parts: tuple[str, ...] = ("train", "calibration", "validation", "test")) -> None:
    """Check, before a file is opened, whether any part may be read.

    Raises:
        NotPermittedError: none may; the message gives the policy's reason for the first.
    """
    refused: list[NotPermittedError] = []
    for part in parts:
        try:
            return guard.require(action_of(part), part)
        except NotPermittedError as error:
            refused.append(error)
    # The first refusal is enough, because one policy refused all parts.
    raise refused[0]
