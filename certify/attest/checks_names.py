"""Check that no text shown to readers can be mistaken for another."""

from __future__ import annotations

from certify.attest.certificate import Certificate
from certify.core.finding import Finding
from certify.core.scripts import first_look_alike


def check_names(certificate: Certificate) -> Finding:
    """Check that names and free texts use one script, or Latin with Japanese, Korean or Chinese."""
    name = "names_of_one_script"
    found = first_look_alike(certificate.assessment.texts(certificate.predicate))
    if found is not None:
        return Finding(name, "fail", f"{found} It could be mistaken for another text.")
    return Finding(name, "pass", "No name or free text mixes scripts.")
