"""The Square attack: queries to a file alone, without gradients, in numpy.

Andriushchenko, Croce, Flammarion and Hein, "Square Attack: a query-efficient black-box adversarial attack via random
search", ECCV 2020 (arXiv 1912.00049), the L-infinity form. It is weak where gradients are available, above all at small
changes: a sample that withstands it alone says little about a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Signs = npt.NDArray[np.int8]
Margins = npt.NDArray[np.float64]
Ask = Callable[[Images, npt.NDArray[np.int64]], Margins]
"""(images (n, H, W, 3), their indices (n,)) -> output of the true class less the largest other one, (n,)."""

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 queries: when the share of pixels in a square is halved (section 3.1 and the authors' code)."""
# The authors state when to halve for this number of queries.
SCHEDULE = 10_000


@dataclass(frozen=True)
class SquareAttack:
    """Random search with squares of one sign.

    Attributes:
        queries: queries per sample.
        first_share: share of the pixels that the first squares cover (p of the paper).
        seed: seed of every draw.

    Example:
        >>> grey = np.full((1, 8, 8, 3), 100, dtype=np.uint8)
        >>> signs, margins = SquareAttack(queries=50).signs(grey, 2, lambda images, _: images.mean((1, 2, 3)) - 99.0)
        >>> bool(margins[0] < 1)
        True
    """

    queries: int = 500
    first_share: float = 0.8
    seed: int = 0

    def signs(self, images: Images, eps: int, ask: Ask, past: float = 0.0) -> tuple[Signs, Margins]:
        """Search for changes of ``eps`` grey levels that bring the true class's margin below ``-past``.

        Args:
            images: samples, (n, H, W, 3).
            eps: grey levels.
            ask: returns margins.
            past: distance below 0 at which a margin needs no further queries.

        Returns:
            The best signs found, (n, H, W, 3), and their margins, (n,).
        """
        rng = np.random.default_rng(self.seed)
        count, height, width, channels = images.shape
        # The authors' start: vertical stripes, to which convolutions are sensitive.
        stripes = rng.choice(np.array([-1, 1], dtype=np.int8), (count, 1, width, channels))
        best: Signs = np.broadcast_to(stripes, images.shape).copy()
        margins = ask(_moved(images, best, eps), np.arange(count))
        for query in range(1, self.queries):
            open_ones = np.flatnonzero(margins > -past)
            if not len(open_ones):
                break
            side = self._side(query, height, width)
            tried = best[open_ones].copy()
            tops = rng.integers(0, height - side + 1, len(open_ones))
            lefts = rng.integers(0, width - side + 1, len(open_ones))
            values = rng.choice(np.array([-1, 1], dtype=np.int8), (len(open_ones), 1, 1, channels))
            for row, (top, left) in enumerate(zip(tops, lefts, strict=True)):
                square = tried[row, top : top + side, left : left + side]
                if (square == values[row]).all():  # no change, which would waste a query
                    square *= rng.choice(np.array([-1, 1], dtype=np.int8), (1, 1, channels))
                else:
                    square[...] = values[row]
            found = ask(_moved(images[open_ones], tried, eps), open_ones)
            better = found < margins[open_ones]
            best[open_ones[better]], margins[open_ones[better]] = tried[better], found[better]
        return best, margins

    def _side(self, query: int, height: int, width: int) -> int:
        """Return the side of the square for a query, in pixels; the schedule for 10,000 queries is rescaled."""
        done = query * SCHEDULE / self.queries
        share = self.first_share / 2 ** sum(done > step for step in HALVINGS)
        side = round(float(np.sqrt(share * height * width)))
        # Smaller than the image, so that there are positions to choose from; `or 1` for images of one row or column.
        return int(min(max(side, 1), height - 1 or 1, width - 1 or 1))


def _moved(images: Images, signs: Signs, eps: int) -> Images:
    # Convert first, because uint8 would wrap around.
    attacked: Images = np.clip(images.astype(np.int16) + eps * signs.astype(np.int16), 0, 255).astype(np.uint8)
    return attacked
