"""A path for data in memory, next to which their use policy is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Placed:
    """Data in memory, with the path next to which their use policy is stored.

    Without a path no policy can be found for such data, so none governs them.

    Args:
        data: arrays, a data set or another object; see :func:`certify.data.own_data.from_object`.
        place: path, which need not exist; the policy is in the folder ``PLACE.use``.

    Example:
        >>> import numpy as np
        >>> x, y = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2
        >>> Placed((x, y), "records/digits")
        Placed(tuple, 'records/digits')
    """

    def __init__(self, data: Any, place: str | Path) -> None:
        self.data = data
        self.place = Path(place).expanduser()

    def __repr__(self) -> str:
        return f"Placed({type(self.data).__name__}, {str(self.place)!r})"
