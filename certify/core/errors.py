"""The errors that leanmark raises on purpose; the command prints their one sentence and no traceback."""

from __future__ import annotations

from certify.core import exit_codes


class LeanmarkError(Exception):
    """Something that the user can mend; ``exit_code`` is what the command returns."""

    exit_code = exit_codes.FAILED


class UsageError(LeanmarkError):
    """What was asked for does not exist or does not fit (unknown name, key or option)."""

    exit_code = exit_codes.USAGE


class MissingExtra(UsageError):
    """A part is needed that the base install leaves out.

    Args:
        what: what was asked for, as the user knows it.
        extra: the extra of the distribution that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the extra '{extra}', which is not installed. In the clone run: pip install '.[{extra}]', or "
            f"name the wheel: pip install 'leanmark-VERSION-py3-none-any.whl[{extra}]'."
        )
        self.extra = extra


class DataError(LeanmarkError):
    """Data that can't be read, or can't serve the purpose."""

    exit_code = exit_codes.USAGE


class ModelError(LeanmarkError):
    """A model, its weights or an ONNX file that can't be read, run or exported."""

    exit_code = exit_codes.USAGE


class MeasureError(LeanmarkError):
    """A measurement that could not be carried out: a worker, a meter or a runtime failed."""


class CertificateError(LeanmarkError):
    """A certificate, envelope, seal, key or evidence file that is malformed."""


class NotDerivedError(CertificateError):
    """Signed figures that can't be derived again, as the evidence is missing or can't be read."""

    exit_code = exit_codes.NOT_DERIVED


class NotPermittedError(LeanmarkError):
    """What the use policy of the data, or one of those whom the data are about, does not permit."""

    exit_code = exit_codes.NOT_PERMITTED


class NotAwardedError(LeanmarkError):
    """A level that may not be drawn, as no scheme that the reader knows awards it or it is no longer in force."""

    exit_code = exit_codes.NO
