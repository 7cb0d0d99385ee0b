"""The errors that leanmark raises on purpose; the command prints their one sentence and no traceback."""

from __future__ import annotations


class LeanmarkError(Exception):
    """Something that the user can mend; ``exit_code`` is what the command returns."""

    exit_code = 1


class UsageError(LeanmarkError):
    """What was asked for does not exist or does not fit (unknown name, key or option)."""

    exit_code = 2


class MissingExtra(UsageError):
    """A part is needed that the base install leaves out.

    Args:
        what: what was asked for, as the user knows it.
        extra: the extra of the distribution that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra that is not installed: pip install 'leanmark[{extra}]'.")
        self.extra = extra


class DataError(LeanmarkError):
    """Data that can't be read, or can't serve the purpose."""

    exit_code = 2


class ModelError(LeanmarkError):
    """A model, its weights or an ONNX file that can't be read, run or exported."""

    exit_code = 2


class MeasureError(LeanmarkError):
    """A measurement that could not be carried out: a worker, a meter or a runtime failed."""


class CertificateError(LeanmarkError):
    """A certificate, envelope, seal, key or evidence file that is malformed."""
