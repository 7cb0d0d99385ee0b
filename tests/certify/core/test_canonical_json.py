"""Errors about JSON name what was read as it is written."""

from __future__ import annotations

import pytest

from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "is not canonical JSON"), (b'{"b":1, "a":2}', "is not in canonical form")]
)
def test_parse_canonical_keeps_the_case_of_a_path_when_it_refuses(content: bytes, words: str) -> None:
    with pytest.raises(CertificateError, match=rf"^A line of /Data/Ledger\.JSONL {words}"):
        parse_canonical(content, "a line of /Data/Ledger.JSONL")
