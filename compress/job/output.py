"""Files that a job writes to OUT, next to the referee's, or alone if nothing was measured."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from certify.attest.certificate import CERTIFICATE_NAME, EVIDENCE_NAME, LABEL_PNG_NAME, LABEL_SVG_NAME, SIGNER_NAME
from certify.core.data_use.guard import Use
from certify.core.files import copy, require_kept
from certify.data.specs import IN_PYTHON
from certify.measure.partial import PARTIAL_NAME
from certify.model_file.suffixes import is_onnx
from compress.core import onnx_file
from compress.exchange.checkpoint import CHECKPOINT, STRUCTURE
from compress.job.job import BASELINE, LINEAGE, MODEL
from compress.job.job_outputs import JobOutputs
from compress.job.lineage import Lineage
from compress.job.recipe import Workload


def folder_of(out: str | Path | None, spec: str) -> Path:
    """Return OUT: the given folder, or ``build/`` and a name derived from the model.

    Example:
        >>> folder_of(None, "models/small.onnx").name, folder_of(None, "hf:models/leaf/../bert").name
        ('small', 'bert')
    """
    if out is not None:
        return Path(out)
    path = Path(spec) if is_onnx(spec) else Path(spec.rpartition(":")[2])
    named = path if path.name not in ("", "..") else path.resolve()
    return Path("build") / (named.stem if is_onnx(spec) else named.name)


def require_inputs_kept(folder: Path, file: Path | None, weights: str | Path | None) -> None:
    """Refuse a folder in which the job's results would replace the user's model or weights.

    Raises:
        UsageError: one of the files to write is one of the given ones.
    """
    for source in (file, None if weights is None else Path(weights).expanduser()):
        if source is not None:
            require_kept(source, *(folder / name for name in (MODEL, BASELINE, CHECKPOINT)))


def bring(files: Mapping[str, Path], folder: Path, of_earlier: tuple[str, ...]) -> dict[str, Path]:
    """Copy files into a folder under their names, and remove files that only an earlier job has written.

    Args:
        files: files by their new names.
        folder: OUT; it exists.
        of_earlier: names to remove if this job has not written them.
    """
    for name in {*of_earlier} - {*files}:
        (folder / name).unlink(missing_ok=True)
    for name, path in files.items():
        copy(path, folder / name)
    return {name: folder / name for name in files}


def bring_unmeasured(outputs: JobOutputs, lineage: Path, folder: Path) -> dict[str, Path]:
    """Copy models, lineage and checkpoint into a folder, and remove any certificate of an earlier model."""
    models = {part.name: part for path in (outputs.model, outputs.baseline) for part in onnx_file.parts(path)}
    of_measurement = (CERTIFICATE_NAME, EVIDENCE_NAME, PARTIAL_NAME, LABEL_SVG_NAME, LABEL_PNG_NAME, SIGNER_NAME)
    earlier = (*of_measurement, CHECKPOINT, STRUCTURE)
    return bring({**models, LINEAGE: lineage, **outputs.checkpoint}, folder, earlier)


def certify_command(folder: Path, lineage: Lineage, data: str, use: Use | None = None) -> str:
    """Return the command that measures, grades and seals what :func:`bring_unmeasured` wrote.

    Data given in Python has no name on the command line, so the same call in Python is returned instead. If the data
    are private, the command measures privately; if a policy governs them, it states the same purpose.
    """
    private = lineage.auditor is not None
    workload, usual = lineage.recipe.workload, Workload()
    named = {"baseline": folder / BASELINE, "lineage": folder / LINEAGE, "data": data, "out": folder}
    plan = {name: getattr(workload, name) for name in ("batch", "runtime")}
    plan = {name: value for name, value in plan.items() if value != getattr(usual, name)}
    if data.startswith(IN_PYTHON):
        keywords = {name: repr(str(value)) for name, value in named.items()} | {"data": "data"}
        keywords |= {"plan": f"certify.Plan(**{plan})"} if plan else {}
        keywords |= {"data_key": "data_key"} if private else {}
        arguments = [repr(str(folder / MODEL)), *(f"{name}={value}" for name, value in keywords.items())]
        return f"certify.certify({', '.join(arguments)})"
    options = [part for name, value in {**named, **plan}.items() for part in (f"--{name}", value)]
    options += ["--private-data"] if private else []
    if use is not None:
        options += ["--purpose", use.purpose, *(["--recipient", use.recipient] if use.recipient else [])]
    return shlex.join(["leanmark", "certify", *map(str, [folder / MODEL, *options])])
