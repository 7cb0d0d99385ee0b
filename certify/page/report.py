"""From a certified file to its report."""

from __future__ import annotations

from pathlib import Path

from certify.page.page import page
from certify.page.papers import read_papers


def report(
    path: str | Path,
    *,
    certificate: str | Path | None = None,
    evidence: str | Path | None = None,
    out: str | Path | None = None,
) -> str:
    """Everything about a certified model as one HTML page; equal files give equal text.

    Args:
        path: the model's file.
        certificate: its certificate; by default the one sealed into the file, else the one beside it.
        evidence: the evidence file; the one beside the model by default. Without it the page has no windows and no
            classes.
        out: file to write the page to as well.

    Returns:
        The page.

    Raises:
        UsageError: a file that was named does not exist.
        CertificateError: there is no certificate, or it is not valid.
    """
    from certify.core.files import write_text

    text = page(read_papers(path, certificate, evidence))
    if out is not None:
        write_text(Path(out), text)
    return text
