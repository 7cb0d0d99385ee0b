"""A certificate in other formats, each with a list of what the format cannot represent.

An export is a copy for other tools. It has no leanmark signature of its own, so it refers to the certificate by
digest; only the result of ``leanmark verify`` on the certificate counts.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from certify.core.errors import CertificateError, MissingExtra
from certify.core.suggest import unknown_name
from certify.export.source import ExportSource, Signer, filled, is_included, pattern

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate

EXTRA = "export"


class Format(NamedTuple):
    """Format: the module with its ``write``, ``INCLUDED`` and ``INCLUDED_IF_GRADED``, and a description."""

    module: str
    what: str


FORMATS = {
    "cyclonedx": Format("certify.export.cyclonedx", "CycloneDX 1.6 machine-learning BOM, JSON"),
    "cyclonedx-1.7": Format("certify.export.cyclonedx_1_7", "CycloneDX 1.7 machine-learning BOM, JSON"),
    "hf-model-card": Format("certify.export.hf_model_card", "README.md of a model on the Hugging Face Hub"),
    "in-toto": Format("certify.export.in_toto", "in-toto statement with a test-result predicate, JSON"),
    "spdx3": Format("certify.export.spdx3", "SPDX 3.0.1 document with the AI profile, JSON-LD"),
}


@dataclass(frozen=True, repr=False)
class Export:
    """Certificate in another format.

    Attributes:
        format: name of the format, one of ``FORMATS``.
        content: complete document.
        left_out: fields of the signed statement that the document lacks, as dotted paths.
    """

    format: str
    content: str
    left_out: tuple[str, ...]

    def summary(self) -> tuple[str, ...]:
        """Return ``left_out`` grouped over names of estimates and list positions, each with its count."""
        counted = Counter(pattern(path) for path in self.left_out)
        return tuple(f"{path} ({number})" if number > 1 else path for path, number in counted.items())

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"format": self.format, "content": self.content, "left_out": list(self.left_out)}

    def __repr__(self) -> str:
        return f"Export({self.format}, {len(self.content)} characters, {len(self.left_out)} fields left out)"


def export(
    certificate: Certificate,
    name: str,
    lineage: Mapping[str, Any] | None = None,
    others: Sequence[Certificate] = (),
    signers: Sequence[Signer] = (),
) -> Export:
    """Write a certificate in another format; equal input gives equal text.

    Args:
        certificate: graded certificate or refusal; it is not verified here.
        name: name of the format, one of ``FORMATS``.
        lineage: content of the lineage that the certificate binds, if available.
        others: further statements about the same model.
        signers: third parties that signed a verdict on the certificate.

    Raises:
        UsageError: the format is unknown.
        MissingExtra: the format's library is not installed.
        CertificateError: the format cannot represent a value of the certificate.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    source = ExportSource.of(certificate, lineage, others, signers)
    module = importlib.import_module(FORMATS[name].module)
    try:
        content = module.write(source)
    except ModuleNotFoundError as error:
        # A missing module of leanmark itself is a bug, not an extra that the user could install.
        if (error.name or "").partition(".")[0] == "certify":
            raise
        raise MissingExtra(f"The format {name} ({error.name})", EXTRA) from error
    except (ValueError, TypeError) as error:  # raised by the formats' libraries for invalid values
        raise CertificateError(f"The certificate cannot be written as {name}: {error}") from error
    # A refusal has no grade fields, so a format that writes them only for a grade does not leave them out.
    places = module.INCLUDED if source.claims.refused else (*module.INCLUDED, *module.INCLUDED_IF_GRADED)
    left_out = (path for path in filled(certificate.statement) if not is_included(path, places))
    return Export(name, content, tuple(".".join(path) for path in left_out))
