"""Search of drawings and pages for anything that a browser would run or fetch."""

from __future__ import annotations

from html.parser import HTMLParser


class Unsafe(Exception):
    """Something happened that must not, though nothing was raised."""


class _Markup(HTMLParser):
    """Finds what a browser would run or fetch."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "foreignobject", "animate", "set", "base", "form"):
            raise Unsafe(f"markup with <{tag}>")
        for name, value in attrs:
            if name.startswith("on"):
                raise Unsafe(f"markup with {name}=")
            if name in ("href", "src", "xlink:href", "action") and not (value or "").startswith(("#", "data:")):
                raise Unsafe(f"markup that refers to {value!r}")


def refuse_script(text: str) -> None:
    """Raise Unsafe where markup would be run or fetched."""
    parser = _Markup()
    parser.feed(text)
    parser.close()
