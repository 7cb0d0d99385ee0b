"""SPDX 3 documents, held against the specification.

The bindings are generated from the specification's SHACL model; reading a document through them checks the type of
every element, its properties, their values and how many there are. The JSON schema is published on the SPDX project's
site and in no package: where ``LEANMARK_SPDX_SCHEMA`` names a copy, documents are checked against it too.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from certify.attest.certificate import Certificate
from certify.export import export

spdx = pytest.importorskip("spdx_python_model").v3_0_1
jsonschema = pytest.importorskip("jsonschema")

KINDS = ["graded", "modelled", "refused", "no meter"]


@pytest.fixture
def make_document(certificates: dict[str, Certificate], lineage: Mapping[str, Any]) -> Callable[[str], str]:
    return lambda kind: export(certificates[kind], "spdx3", lineage).content


def read(content: str) -> Any:
    """The elements of a document, through the SPDX project's bindings."""
    elements = spdx.SHACLObjectSet()
    spdx.JSONLDDeserializer().read(io.BytesIO(content.encode()), elements)
    return elements


@pytest.mark.parametrize("kind", KINDS)
def test_document_is_the_same_when_the_bindings_read_and_write_it(
    make_document: Callable[[str], str], kind: str
) -> None:
    content = make_document(kind)
    elements = read(content)
    assert not elements.link()  # every element that is referred to is there
    again = spdx.JSONLDSerializer().serialize_data(elements, force_at_graph=True)
    values = json.loads(re.sub(r'(?<="ai_energyQuantity": ")[0-9.]+', lambda match: str(float(match[0])), content))
    assert again["@context"] == values["@context"]

    def sorted_graph(document: Mapping[str, Any]) -> list[str]:
        return sorted(json.dumps(element, sort_keys=True) for element in document["@graph"])

    assert sorted_graph(again) == sorted_graph(values)


@pytest.mark.parametrize(
    ("key", "value"),
    [("software_primaryPurpose", "x"), ("ai_unheardOf", "x"), ("releaseTime", "yesterday"), ("ai_limitation", 3)],
)
def test_bindings_refuse_a_document_when_a_value_does_not_fit(
    make_document: Callable[[str], str], key: str, value: object
) -> None:
    values = json.loads(make_document("modelled"))
    model = next(element for element in values["@graph"] if "ai_energyConsumption" in element)
    with pytest.raises((TypeError, ValueError, KeyError)):
        read(json.dumps({**values, "@graph": [{**model, key: value}]}))


def test_quantities_are_decimals_when_they_are_small(make_document: Callable[[str], str]) -> None:
    written = re.findall(r'"ai_energyQuantity": (.*?)[,\n]', make_document("graded"))
    assert written and all(re.fullmatch(r'"0\.0+[0-9]+"', quantity) for quantity in written), written


@pytest.mark.parametrize("kind", KINDS)
def test_document_fits_the_official_json_schema_when_a_copy_is_available(
    make_document: Callable[[str], str], kind: str
) -> None:
    path = os.environ.get("LEANMARK_SPDX_SCHEMA")
    if path is None:
        pytest.skip("LEANMARK_SPDX_SCHEMA names no copy of https://spdx.org/schema/3.0.1/spdx-json-schema.json")
    jsonschema.Draft202012Validator(json.loads(Path(path).read_bytes())).validate(json.loads(make_document(kind)))
