"""The published JSON schemas (draft 2020-12) of what leanmark writes, and the check against them."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from certify.core.errors import CertificateError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SCHEMAS = ("countersignature-1", "handover-1", "lineage-1", "revocation-1", "statement-1", "trust-store-1")
_SHARED = "common-1"
_MAX_SHOWN = 80


def load_schema(name: str, package: str = __name__) -> dict[str, Any]:
    """Read a published schema.

    Args:
        name: such as ``lineage-1``.
        package: whose data it is; an assessment keeps its own.

    Raises:
        FileNotFoundError: there is no schema of that name.
    """
    schema: dict[str, Any] = json.loads(resources.files(package).joinpath(f"{name}.json").read_text("utf-8"))
    return schema


def validate(instance: Any, name: str, package: str = __name__) -> None:
    """Check JSON values against a published schema, which may refer to the definitions of ``common-1``.

    Args:
        instance: parsed JSON.
        name: as :func:`load_schema` takes it.
        package: likewise.

    Raises:
        CertificateError: names the first field that offends (by its path) and what is wrong with it.
    """
    errors = _validator(name, package).iter_errors(instance)
    first = next(iter(errors), None)
    if first is None:
        return
    while first.context:  # of several alternatives, report the one that came closest
        first = max(first.context, key=lambda error: len(error.absolute_path))
    message = first.message if len(first.message) <= _MAX_SHOWN * 2 else f"{first.message[:_MAX_SHOWN]}..."
    raise CertificateError(f"{name}: {first.json_path} does not fit the schema: {message}")


@functools.cache
def _validator(name: str, package: str) -> Validator:
    from jsonschema import Draft202012Validator  # here, as it costs more to import than the rest of the package
    from referencing import Registry, Resource

    shared = load_schema(_SHARED)
    registry: Registry[Any] = Registry().with_resource(shared["$id"], Resource.from_contents(shared))
    return Draft202012Validator(load_schema(name, package), registry=registry)
