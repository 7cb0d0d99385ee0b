"""Public test sets, by the digest of their samples and labels.

The name that a maker gives to a test set proves nothing. A digest in this table proves that its samples and labels are
the published ones: none was removed, repeated, changed or relabelled. Any other test set is the maker's own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from certify.core.yaml_document import parse_document

TABLE = Path(__file__).with_name("public_sets.yaml")
OWN = "the maker's own data"


@functools.cache
def public_sets() -> Mapping[str, str]:
    """Return the names of the known test sets, by digest (see :func:`certify.data.dataset.samples_digest`)."""
    content = TABLE.read_bytes()
    return MappingProxyType({str(key): str(name) for key, name in parse_document(content, TABLE.name).values.items()})


def public_name(digest: str) -> str | None:
    """Return the name of a test set, by its digest; None if it is not in the table.

    Example:
        >>> public_name("00" * 32) is None
        True
    """
    return public_sets().get(digest)
