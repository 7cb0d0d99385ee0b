"""A place in the file system for data that a program holds, so that a use policy can lie beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Placed:
    """Data in memory with the place that their use policy lies beside; nothing else need lie there.

    Without a place no policy can be found for such data, so that none governs them.

    Args:
        given: arrays, a dataset or the like; see :func:`certify.data.own_data.from_object`.
        place: a path; the policy lies in the folder ``PLACE.use``.

    Example:
        >>> import numpy as np
        >>> x, y = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2
        >>> Placed((x, y), "records/digits")
        Placed(tuple, 'records/digits')
    """

    def __init__(self, given: Any, place: str | Path) -> None:
        self.given = given
        self.place = Path(place).expanduser()

    def __repr__(self) -> str:
        return f"Placed({type(self.given).__name__}, {str(self.place)!r})"
