"""Errors that leanmark raises deliberately; the command prints their message without a traceback."""

from __future__ import annotations

from certify.core import exit_codes


class LeanmarkError(Exception):
    """An error that the user can fix; ``exit_code`` is the exit code of the command."""

    exit_code = exit_codes.FAILED


class UsageError(LeanmarkError):
    """A request that does not exist or does not fit (unknown name, key or option)."""

    exit_code = exit_codes.USAGE


class MissingExtra(UsageError):
    """A required part that the base installation does not include.

    Args:
        what: the requested part, in the user's terms.
        extra: name of the extra that includes it.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} requires the extra '{extra}', which is not installed. In a clone of the repository run: pip "
            f"install '.[{extra}]', or install a wheel with: pip install 'leanmark-VERSION-py3-none-any.whl[{extra}]'."
        )
        self.extra = extra


class DataError(LeanmarkError):
    """Data that cannot be read, or are not usable."""

    exit_code = exit_codes.USAGE


class ModelError(LeanmarkError):
    """A model, its weights or an ONNX file that cannot be read, run or exported."""

    exit_code = exit_codes.USAGE


class MeasureError(LeanmarkError):
    """A measurement that could not be carried out: a worker, a meter or a runtime failed."""


class CertificateError(LeanmarkError):
    """A certificate, envelope, seal, key or evidence file that is malformed."""


class NotDerivedError(CertificateError):
    """Signed figures that cannot be re-derived, since the evidence is missing or unreadable."""

    exit_code = exit_codes.NOT_DERIVED


class NotPermittedError(LeanmarkError):
    """A use that the use policy of the data, or a person in the data, does not permit."""

    exit_code = exit_codes.NOT_PERMITTED


class NotAwardedError(LeanmarkError):
    """A level that may not be drawn, as no scheme that the reader knows awards it or it is no longer in force."""

    exit_code = exit_codes.NO
