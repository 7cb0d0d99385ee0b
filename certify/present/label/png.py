"""The label as an image, drawn by resvg with Lato only, so that its bytes are the same on every machine."""

from __future__ import annotations

import functools
import importlib.util
from importlib.resources import files

from certify.present.svg import with_natural_widths

FAMILY = "Lato"
WEIGHTS = ("Lato-Regular.ttf", "Lato-Bold.ttf", "Lato-Black.ttf")

DRAWING = 8
"""Version of the drawing, raised whenever the same certificate gives a different ``label.svg``."""


@functools.lru_cache(maxsize=4)
def render(svg: str, width_px: int = 800) -> bytes:
    """Return PNG bytes of a label.

    Args:
        svg: result of :func:`certify.present.label.draw`.
        width_px: width of the image in pixels; the height follows.

    Raises:
        ValueError: the SVG cannot be drawn.
    """
    # Imported here, because the extra label is optional.
    from resvg_py import svg_to_bytes

    fonts = files("font_lato") / "files"
    return svg_to_bytes(
        # Fixed widths are for viewers without Lato; resvg has the font, and would stretch every line to them.
        svg_string=with_natural_widths(svg),
        width=width_px,
        # Only packaged fonts are used, because a system font of the same name could have other outlines.
        skip_system_fonts=True,
        font_files=[str(fonts / name) for name in WEIGHTS],
        font_family=FAMILY,
        sans_serif_family=FAMILY,
    )


def can_render() -> bool:
    """Return whether the extra ``label`` is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("resvg_py", "font_lato"))


def renderer() -> str:
    """Return the versions of drawing and renderer: images are byte-identical only if these are equal."""
    if not can_render():  # without the extra label there is no renderer
        return drawing()
    import resvg_py

    return f"{drawing()}, resvg_py {resvg_py.__version__} (resvg {resvg_py.__resvg_version__})"


def drawing() -> str:
    """Return the version of the drawing, the part of :func:`renderer` that determines ``label.svg``."""
    return f"label {DRAWING}"
