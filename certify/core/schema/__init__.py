"""The published JSON schemas (draft 2020-12) of what leanmark writes, and the check against them."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from certify.core.errors import CertificateError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SCHEMAS = ("certificate-1", "countersignature-1", "handover-1", "lineage-1", "revocation-1", "trust-store-1")
_SHARED = "common-1"
_MAX_SHOWN = 80


def load_schema(name: str) -> dict[str, Any]:
    """Read a published schema, such as ``certificate-1``.

    Raises:
        FileNotFoundError: there is no schema of that name.
    """
    schema: dict[str, Any] = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    return schema


def validate(instance: Any, name: str) -> None:
    """Check JSON values against a published schema.

    Args:
        instance: parsed JSON.
        name: one of ``SCHEMAS``.

    Raises:
        CertificateError: names the first field that offends (by its path) and what is wrong with it.
    """
    errors = _validator(name).iter_errors(instance)
    first = next(iter(errors), None)
    if first is None:
        return
    while first.context:  # of several alternatives, report the one that came closest
        first = max(first.context, key=lambda error: len(error.absolute_path))
    message = first.message if len(first.message) <= _MAX_SHOWN * 2 else f"{first.message[:_MAX_SHOWN]}..."
    raise CertificateError(f"{name}: {first.json_path} does not fit the schema: {message}")


@functools.cache
def _validator(name: str) -> Validator:
    from jsonschema import Draft202012Validator  # here, as it costs more to import than the rest of the package
    from referencing import Registry, Resource

    shared = load_schema(_SHARED)
    registry: Registry[Any] = Registry().with_resource(shared["$id"], Resource.from_contents(shared))
    return Draft202012Validator(load_schema(name), registry=registry)
