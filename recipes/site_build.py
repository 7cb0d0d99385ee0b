"""What the documentation site needs beyond mkdocs' plugins.

- ``on_page_markdown``, a hook of mkdocs: a page that names a ``source`` in its front matter shows that file of the
  repository's root, such as SECURITY.md. Links between these files become links between their pages.
- ``Examples``, an extension of griffe, which knows the docstring section ``Examples:`` but not ``Example:``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Replace the text of a page that names a source by that file's, with its links turned to pages."""
    source = page.meta.get("source")
    if source is None:
        return markdown
    text = (ROOT / source).read_text(encoding="utf-8")
    for file, name in PAGES.items():
        text = text.replace(f"]({file}", f"]({name}")
    return re.sub(r"\]\(recipes/guides/", "](", text)


class Examples(griffe.Extension):
    """Read ``Example:`` as the section ``Examples:``."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section in one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Rename it in a package's own docstring, for which ``on_object`` is not called."""
        self.on_object(obj=pkg)
