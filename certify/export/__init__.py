"""A certificate in other people's formats, each with the list of what that format could not hold.

An export is a copy for people's tools. It carries no leanmark signature of its own, so each one points back to the
certificate by digest; what is to be believed is what ``leanmark verify`` says about that.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from certify.core.errors import CertificateError, MissingExtra
from certify.core.suggest import unknown_name
from certify.export.source import ExportSource, Signer, filled, is_held, pattern

if TYPE_CHECKING:
    from certify.attest.certificate import Certificate

EXTRA = "export"


class Format(NamedTuple):
    """A format: the module with its ``write``, ``HELD`` and ``HELD_IF_GRADED``, and what the format is for."""

    module: str
    what: str


FORMATS = {
    "cyclonedx": Format("certify.export.cyclonedx", "CycloneDX 1.6 machine-learning BOM, JSON"),
    "cyclonedx-1.7": Format("certify.export.cyclonedx_1_7", "CycloneDX 1.7, the same"),
    "hf-model-card": Format("certify.export.hf_model_card", "README.md of a model on the Hugging Face Hub"),
    "in-toto": Format("certify.export.in_toto", "in-toto statement with a test-result predicate, JSON"),
    "spdx3": Format("certify.export.spdx3", "SPDX 3.0.1 document with the AI profile, JSON-LD"),
}


@dataclass(frozen=True, repr=False)
class Export:
    """A certificate in another format.

    Attributes:
        format: its name, one of ``FORMATS``.
        content: the whole document.
        left_out: every field of the signed statement that is not in it, as dotted paths.
    """

    format: str
    content: str
    left_out: tuple[str, ...]

    def summary(self) -> tuple[str, ...]:
        """``left_out`` with the names of estimates and the places of lists drawn together, each with its number."""
        counted = Counter(pattern(path) for path in self.left_out)
        return tuple(f"{path} ({number})" if number > 1 else path for path, number in counted.items())

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
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
        certificate: a graded one or a refusal; it is not verified here.
        name: of the format, one of ``FORMATS``.
        lineage: content of the lineage that the certificate binds, where it is at hand.
        others: further statements about the same model.
        signers: who besides the maker signed what they found about the certificate.

    Raises:
        UsageError: there is no such format.
        MissingExtra: the format's library is not installed.
        CertificateError: the certificate holds something that the format cannot take.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    source = ExportSource.of(certificate, lineage, others, signers)
    module = importlib.import_module(FORMATS[name].module)
    try:
        content = module.write(source)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "certify":
            raise
        raise MissingExtra(f"The format {name} ({error.name})", EXTRA) from error
    except (ValueError, TypeError) as error:  # how the formats' libraries refuse a value
        raise CertificateError(f"The certificate cannot be written as {name}: {error}") from error
    held = module.HELD if source.claims.refused else (*module.HELD, *module.HELD_IF_GRADED)
    left_out = (path for path in filled(certificate.statement) if not is_held(path, held))
    return Export(name, content, tuple(".".join(path) for path in left_out))
