"""Common checks that every pass must satisfy, including third-party ones."""

from __future__ import annotations

import functools
import inspect
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from torch import nn

from certify.core.errors import LeanmarkError
from certify.data import Dataset, default_preprocess
from certify.data.touches import Ledger
from certify.testing.checks import CheckFailed, require
from compress.core.context import PassContext, PassData
from compress.core.pass_protocol import Pass
from compress.core.targets import TARGETS
from compress.exchange.onnx_export import EXPORT_FAILURES, export
from compress.exchange.parity import run_onnx
from compress.testing.counted_source import CountedSource
from compress.testing.networks import CLASSES, blobs, network
from compress.testing.silence import require_refusal_without_noise
from compress.testing.trial import UNLIKELY_SEED, Model, Trial, digest_of, global_seed

# Not the batch of the exporter's example, because a file with that fixed batch would accept it.
BATCH = 5
PARTS = ("train", "calibration", "validation")


def check_pass(pass_: Pass | type[Pass], *, model: Model | None = None) -> None:
    """Test a pass on a small network against everything that passes promise.

    A pass describes what it does and when not to use it; rejects unknown parameters and is immutable; does not modify
    its input, its teacher, the global generators or the folder; gives the same model under one seed, or never the same
    if it adds noise for privacy, and then refuses to train without noise; records in plain JSON what it did; reads
    samples only through the loaders, which record it; and its result can be exported and run.

    Args:
        pass_: the class, which is then configured by its ``tags.quick``, or a configured pass.
        model: a classifier of 4 classes for (n, 3, 32, 32), or an ONNX file with one; by default the network named in
            the ``tags``.

    Raises:
        CheckFailed: a promise is broken; the error names the pass and the check.

    Example:
        >>> from compress.passes.low_rank import LowRank
        >>> check_pass(LowRank)
    """
    candidate = pass_ if isinstance(pass_, Pass) else pass_(**pass_.tags.quick)
    with tempfile.TemporaryDirectory() as folder:
        trial = _trial(candidate, model, Path(folder))
        for name, check in CHECKS.items():
            try:
                check(trial)
            except CheckFailed as error:
                raise CheckFailed(f"{type(candidate).__name__} {error} (check: {name})") from error


def _trial(candidate: Pass, model: Model | None, folder: Path) -> Trial:
    dataset = _dataset()
    original = model if isinstance(model, nn.Module) else network(candidate.tags.tried_on)
    context = PassContext(
        data=PassData.without_test(dataset),
        preprocess=default_preprocess(dataset),
        target=TARGETS["cpu-vnni"],
        teacher=original,
        workspace=folder,
    )
    if candidate.stage == "torch":
        return Trial(candidate, original, context)
    path = folder / "given.onnx"
    path.write_bytes(model.read_bytes() if isinstance(model, Path) else _exported(candidate.tags.tried_on))
    return Trial(candidate, path, context)


@functools.cache
def _dataset() -> Dataset:
    return blobs()


@functools.cache
def _exported(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.onnx"
        export(network(name), default_preprocess(_dataset()), path, classes=CLASSES)
        return path.read_bytes()


def _check_description(trial: Trial) -> None:
    kind = type(trial.candidate)
    text = inspect.getdoc(kind) or ""
    require(bool(getattr(kind, "name", "")), "has no name")
    require(getattr(kind, "version", 0) >= 1, "has no version of at least 1")
    require(kind.stage in ("torch", "onnx"), f"has the stage '{kind.stage}', not torch or onnx")
    require("When not to use it:" in text, "does not say 'When not to use it:' in its docstring")
    require("Paper" in text, "names no paper in its docstring (write 'Papers: none needed' if there is none)")
    silent = [name for name, field in kind.model_fields.items() if not field.description]
    require(not silent, f"does not describe its parameters {', '.join(silent)}")


def _check_unknown_parameter(trial: Trial) -> None:
    try:
        type(trial.candidate).model_validate({**trial.candidate.config(), "no_such_parameter": 1})
    except ValidationError as error:
        require("no_such_parameter" in str(error), "rejects an unknown parameter without naming it")
        return
    raise CheckFailed("silently accepts an unknown parameter")


def _check_frozen(trial: Trial) -> None:
    try:
        trial.candidate.anything = 1  # type: ignore[attr-defined]
    except ValueError:
        return
    raise CheckFailed("can be changed after its creation; make its config frozen")


def _check_config(trial: Trial) -> None:
    config = json.loads(json.dumps(trial.candidate.config(), allow_nan=False))
    again = type(trial.candidate).model_validate_json(json.dumps(config), strict=True)
    require(again == trial.candidate, "differs after its config is converted to JSON and back")


def _check_input(trial: Trial) -> None:
    observed = trial.observed
    require(observed.input_kept, "modified its input model")
    require(observed.teacher_kept, "modified the teacher")
    require(observed.changed is not trial.model, "returned its input model instead of a copy")
    require(observed.digest != digest_of(trial.model), "did nothing; its tags must name a network that it applies to")


def _check_record(trial: Trial) -> None:
    record = trial.observed.record
    why = "; ".join(each.why for each in record.declined)
    require(record.changed, f"recorded that it did nothing ({why or 'without a reason'})")
    require(all(each.what and each.why for each in record.declined), "declined something without a reason")
    try:
        plain = json.loads(json.dumps(record.to_json(), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CheckFailed(f"recorded values that are not JSON ({error})") from error
    require(plain == record.to_json(), "recorded values that JSON changes, such as tuples")


def _check_seed(trial: Trial) -> None:
    tags = trial.candidate.tags
    if not (tags.deterministic or tags.noisy):
        return
    with global_seed(UNLIKELY_SEED + 1):
        again = digest_of(trial.apply()[0])
    if tags.noisy:
        require(
            again != trial.observed.digest,
            "returned the same model twice, so its noise comes from a seed, not the system",
        )
        return
    require(again == trial.observed.digest, "returned two models under one seed; use context.seed for all randomness")


def _check_noise(trial: Trial) -> None:
    if trial.candidate.tags.noisy:
        require_refusal_without_noise(trial.apply)


def _check_generators(trial: Trial) -> None:
    require(
        trial.observed.generators_kept,
        "changed a global random generator; use its own generator or torch.random.fork_rng",
    )


def _check_export(trial: Trial) -> None:
    changed, context = trial.observed.changed, trial.context
    with tempfile.TemporaryDirectory() as folder:
        path = changed if isinstance(changed, Path) else Path(folder) / "exported.onnx"
        try:
            if isinstance(changed, nn.Module):
                export(changed, context.preprocess, path, classes=CLASSES)
            shape = run_onnx(path, context.samples(BATCH)).shape
        except (LeanmarkError, *EXPORT_FAILURES) as error:
            raise CheckFailed(f"returned a model that cannot be exported and run ({error})") from error
    require(shape == (BATCH, CLASSES), f"returned a model with outputs {shape}, not {(BATCH, CLASSES)}")


def _check_folder(trial: Trial) -> None:
    left = trial.observed.left
    require(not left, f"left {', '.join(left)} in the folder")


def _check_touches(trial: Trial) -> None:
    """Check that the ledger has every read of a sample."""
    ledger, data = Ledger(), trial.context.data
    sources = {name: CountedSource(split) for name in PARTS if (split := getattr(data, name)) is not None}
    watched: dict[str, Any] = {name: source.split().watched(ledger, name) for name, source in sources.items()}
    replace(trial, context=replace(trial.context, data=replace(data, **watched))).apply()
    past = [name for name, source in sources.items() if source.reads != ledger.samples(name)]
    require(not past, f"reads {' and '.join(past)} samples without the loader, so no ledger records it")


CHECKS: Mapping[str, Callable[[Trial], None]] = MappingProxyType(
    {
        "description": _check_description,
        "unknown_parameter": _check_unknown_parameter,
        "frozen": _check_frozen,
        "config": _check_config,
        "input": _check_input,
        "record": _check_record,
        "seed": _check_seed,
        "noise": _check_noise,
        "generators": _check_generators,
        "touches": _check_touches,
        "export": _check_export,
        "folder": _check_folder,
    }
)
