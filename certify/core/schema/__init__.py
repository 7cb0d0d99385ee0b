"""Published JSON schemas (draft 2020-12) of leanmark's files, and validation against them."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from certify.core.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonschema_rs import Draft202012Validator

SCHEMAS = (
    "attestation-1", "countersignature-1", "handover-1", "lineage-1", "mark-1", "release-1", "revocation-1",
    "revoked-models-1", "statement-1", "trust-store-1", "use-policy-1", "withdrawn-marks-1", "witnesses-1",
)  # fmt: skip
_SHARED = "common-1"
_MAX_SHOWN = 80


def load_schema(name: str, package: str = __name__) -> dict[str, Any]:
    """Read a published schema.

    Args:
        name: name such as ``lineage-1``.
        package: package that contains it; an assessment has its own schemas.

    Raises:
        FileNotFoundError: the schema does not exist.
    """
    schema: dict[str, Any] = json.loads(resources.files(package).joinpath(f"{name}.json").read_text("utf-8"))
    return schema


def validate(instance: Any, name: str, package: str = __name__) -> None:
    """Check JSON values against a published schema, which may refer to the definitions of ``common-1``.

    Args:
        instance: parsed JSON.
        name: as for :func:`load_schema`.
        package: as for :func:`load_schema`.

    Raises:
        CertificateError: the values do not fit; the message names the path of the first invalid field and the problem.
    """
    try:
        first = next(iter(_validator(name, package).iter_errors(instance)), None)
    except ValueError as error:  # too deeply nested, or numbers too large
        raise CertificateError(f"{name} cannot be checked against the schema: {error}.") from error
    if first is None:
        return
    while branches := [error for branch in getattr(first.kind, "context", ()) for error in branch]:
        first = max(branches, key=lambda error: len(error.instance_path))  # the closest alternative
    message = first.message if len(first.message) <= _MAX_SHOWN * 2 else f"{first.message[:_MAX_SHOWN]}..."
    raise CertificateError(f"{name}: {_json_path(first.instance_path)} does not fit the schema: {message}")


def _json_path(keys: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


@functools.cache
def _validator(name: str, package: str) -> Draft202012Validator:
    import jsonschema_rs  # imported here, since most commands validate nothing

    shared = load_schema(_SHARED)
    registry = jsonschema_rs.Registry([(shared["$id"], shared)])
    return jsonschema_rs.Draft202012Validator(load_schema(name, package), registry=registry)
