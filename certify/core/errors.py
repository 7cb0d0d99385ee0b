"""Errors that leanmark raises deliberately; the command prints their message without a traceback."""

from __future__ import annotations

from certify.core import exit_codes


class LeanmarkError(Exception):
    """An error that the user can fix; ``exit_code`` is the exit code of the command.

    Example:
        >>> import certify
        >>> try:
        ...     certify.Plan(batch=0)
        ... except certify.LeanmarkError as error:
        ...     print(error.exit_code, error)
        2 The 'batch' setting must be in [1, 4096], got 0.
    """

    exit_code = exit_codes.FAILED


class UsageError(LeanmarkError):
    """A request that does not exist or does not fit (unknown name, key or option).

    Example:
        >>> import certify
        >>> certify.verify("missing.onnx")
        Traceback (most recent call last):
            ...
        certify.core.errors.UsageError: The file missing.onnx does not exist; check the path.
    """

    exit_code = exit_codes.USAGE


class MissingExtra(UsageError):
    """A required part that the base installation does not include.

    Args:
        what: the requested part, in the user's terms.
        extra: name of the extra that includes it.

    Example:
        >>> error = MissingExtra("Measuring", extra="measure")
        >>> error.extra, error.exit_code
        ('measure', 2)
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} requires the extra '{extra}', which is not installed. In a clone of the repository run: pip "
            f"install '.[{extra}]', or install a wheel with: pip install 'leanmark-VERSION-py3-none-any.whl[{extra}]'."
        )
        self.extra = extra


class DataError(LeanmarkError):
    """Data that cannot be read, or are not usable.

    Example:
        >>> from certify.data import load
        >>> load("npz:missing.npz")
        Traceback (most recent call last):
            ...
        certify.core.errors.DataError: missing.npz: file not found; give an npz file with arrays x and y.
    """

    exit_code = exit_codes.USAGE


class ModelError(LeanmarkError):
    """A model, its weights or an ONNX file that cannot be read, run or exported.

    Example:
        >>> import certify
        >>> certify.declare("damaged.onnx", "declarations.yaml")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        certify.core.errors.ModelError: damaged.onnx is damaged or not an ONNX model: ...
    """

    exit_code = exit_codes.USAGE


class MeasureError(LeanmarkError):
    """A measurement that could not be carried out: a worker, a meter or a runtime failed.

    Example:
        >>> import certify
        >>> try:
        ...     found = certify.profile("small.onnx", data="photos")
        ... except certify.MeasureError as error:
        ...     print(f"not measured: {error}")  # doctest: +SKIP
    """


class CertificateError(LeanmarkError):
    """A certificate, envelope, seal, key or evidence file that is malformed.

    Example:
        >>> import certify
        >>> certify.report("uncertified/model.onnx")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        certify.core.errors.CertificateError: No certificate was found in uncertified/model.onnx or next to it; ...
    """


class NotDerivedError(CertificateError):
    """Signed figures that cannot be re-derived, since the evidence is missing or unreadable.

    Example:
        >>> import certify
        >>> certify.report("without-evidence/model.onnx")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        certify.core.errors.NotDerivedError: without-evidence/model.onnx: evidence.jsonl is missing, ...
    """

    exit_code = exit_codes.NOT_DERIVED


class NotPermittedError(LeanmarkError):
    """A use that the use policy of the data, or a person in the data, does not permit."""

    exit_code = exit_codes.NOT_PERMITTED


class NotAwardedError(LeanmarkError):
    """A level that may not be drawn, as no scheme that the reader knows awards it or it is no longer in force."""

    exit_code = exit_codes.NO
