"""The label as a picture: resvg draws it with Lato alone, so that the bytes are the same on every machine."""

from __future__ import annotations

from importlib.resources import files

FAMILY = "Lato"
WEIGHTS = ("Lato-Regular.ttf", "Lato-Bold.ttf", "Lato-Black.ttf")


def render(svg: str, width_px: int = 800) -> bytes:
    """PNG bytes of a label.

    Args:
        svg: what :func:`certify.label.draw` returned.
        width_px: width of the picture in pixels; its height follows.

    Raises:
        ValueError: the SVG can't be drawn.
    """
    from resvg_py import svg_to_bytes

    fonts = files("font_lato") / "files"
    return svg_to_bytes(
        svg_string=svg,
        width=width_px,
        skip_system_fonts=True,
        font_files=[str(fonts / name) for name in WEIGHTS],
        font_family=FAMILY,
        sans_serif_family=FAMILY,
    )


def renderer() -> str:
    """Name and version of what draws the picture: its bytes are promised to be equal only under an equal one."""
    import resvg_py

    return f"resvg_py {resvg_py.__version__} (resvg {resvg_py.__resvg_version__})"
