"""Witnesses that anybody can add to a stated model: a public game in which a claim can only fall."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.assessments.robustness.assessment import WITNESS_FOLDER, Robustness
from certify.attest.certificate import Certificate
from certify.attest.keys import PublicKey, SigningKey
from certify.attest.signed import read_statement, sign_statement
from certify.attest.statements import statement_path
from certify.core.errors import CertificateError, DataError, UsageError
from certify.core.files import sha256_file, write_bytes
from certify.core.scripts import first_look_alike
from certify.data import Preprocess, load
from certify.data.contract_slot import contract_of
from certify.data.witnesses import MAX_EPS
from certify.measure.answers import Answers
from certify.model_file.subject import subject_digests, subject_name
from certify.workflows.witness_check import Base, Checked, check, fallen, turned

SCHEMA = "witnesses-1"
NAME_DIGITS = 16
MOST_SHOWN = 3
MAX_ADDITIONS = 256


@dataclass(frozen=True)
class Found:
    """Result of checking one witness file.

    Attributes:
        file: file name.
        arm: model that the witnesses were made for.
        witnesses: number in the file.
        held: number of images among them that the model gets wrong.
        refused: why others do not count, the first few.
        signer: who added the file; None if it was added without a signature.
    """

    file: str
    arm: str
    witnesses: int
    held: int
    refused: tuple[str, ...]
    signer: PublicKey | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        signer = None if self.signer is None else self.signer.hex
        return {**vars(self), "refused": list(self.refused), "signer": signer}


@dataclass(frozen=True)
class Standing:
    """Robust accuracy at one size of change: as stated, and as it is now."""

    eps: int
    samples: int
    stated: float | None
    now: float

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return dict(vars(self))


@dataclass(frozen=True)
class Checks:
    """All witness files for a model, and the robust accuracy under them.

    Attributes:
        files: results by file.
        standing: robust accuracy by size of change, ascending.
    """

    files: tuple[Found, ...]
    standing: tuple[Standing, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {
            "files": [file.to_json() for file in self.files],
            "standing": [row.to_json() for row in self.standing],
        }


def check_witnesses(
    model: str | Path,
    files: Sequence[str | Path] = (),
    *,
    data: Any,
    baseline: str | Path | None = None,
    preprocess: Preprocess | str | Path | None = None,
    runtime: str = "onnxruntime-cpu",
) -> Checks:
    """Check witnesses for a model, one forward pass each, and recompute its robust accuracy.

    Args:
        model: the model file; its claim is compared if one is stated next to it.
        files: witness files, in addition to those in ``witnesses/`` next to the model.
        data: data whose test split the witnesses were made from.
        baseline: file that some were made for. Default: ``baseline.onnx`` next to the model, if it exists.
        preprocess: the model's contract; None uses the one in the model file.
        runtime: runtime adapter.

    Raises:
        DataError: a file belongs to another model or other samples, or there is no file.
        CertificateError: an addition is not signed by the key that it names.

    Example:
        >>> found = check_witnesses("robust/model.onnx", ["witnesses.npz"], data="npz:test=photos.npz")
        >>> [(one.eps, one.now) for one in found.standing]
        [(1, 0.1), (2, 0.0), (8, 0.0)]
    """
    model = Path(model)
    dataset = load(data)
    base, known, added = Base.of(dataset), _known(model, baseline), _additions(model)
    listed = {path.name: path for path in [*_beside(model), *map(Path, files)]}
    if not listed:
        raise DataError(f"No witnesses found for {model}; name a file, or put some into {WITNESS_FOLDER}/.")
    checked = {name: check(path, base, known) for name, path in sorted(listed.items())}
    with Answers(model, contract_of(model, preprocess), len(dataset.classes), runtime=runtime) as answers:
        wrong = {name: turned(answers, base, file.sound) for name, (_, file) in checked.items()}
        found = tuple(
            _verdict(name, arm, file, int(wrong[name].sum()), added.get(name)) for name, (arm, file) in checked.items()
        )
        parts = [(file, wrong[name]) for name, (_, file) in checked.items()]
        return Checks(found, _standing(model, base, answers, parts))


def add_witnesses(
    model: str | Path,
    file: str | Path,
    *,
    data: Any,
    baseline: str | Path | None = None,
    preprocess: Preprocess | str | Path | None = None,
    runtime: str = "onnxruntime-cpu",
    remark: str | None = None,
    signer: SigningKey,
) -> tuple[Found, Path]:
    """Check witnesses, sign them, and store them next to the model.

    Later readers of the model's statement find them with :func:`check_witnesses`. The robust accuracy can only fall,
    because no file is removed or replaced.

    Args:
        model: the stated file.
        file: witness file.
        data: data whose test split the witnesses were made from.
        baseline: file that they may have been made for. Default: ``baseline.onnx`` next to the model, if it exists.
        preprocess: the model's contract; None uses the one in the model file.
        runtime: runtime adapter.
        remark: sentence for human readers.
        signer: key of the person who found them; anyone may sign.

    Returns:
        The result of the check, and the path of the signed statement.

    Raises:
        DataError: the file belongs to another model or other samples, or no witness in it fools the model.
        CertificateError: the remark mixes scripts, or there are too many additions.
    """
    model, file = Path(model), Path(file)
    dataset = load(data)
    base, known = Base.of(dataset), _known(model, baseline)
    if (mixed := first_look_alike({"remark": remark or ""})) is not None:
        raise UsageError(f"{mixed} Write it in one script, or in Latin with Japanese, Korean or Chinese.")
    # Bounded, because each file costs a forward pass of every verifier.
    if len(_beside(model)) >= MAX_ADDITIONS:
        raise CertificateError(
            f"There are already {MAX_ADDITIONS} witness files next to {model}, the maximum; merge some first."
        )
    arm, checked = check(file, base, known)
    with Answers(model, contract_of(model, preprocess), len(dataset.classes), runtime=runtime) as answers:
        effective = int(turned(answers, base, checked.sound).sum())
    # A witness that fools nothing would only lengthen the list.
    if not effective:
        why = next(iter(checked.refused.values()), "the model classifies them correctly")
        raise DataError(f"No witness in {file} counts against {model} ({why}); nothing was added.")
    content = file.read_bytes()
    name = f"{checked.sha256[:NAME_DIGITS]}.npz"
    # Both digests are signed, so that the witnesses are bound to this model.
    subject = [
        {"name": subject_name(model), "digest": subject_digests(model)},
        {"name": name, "digest": {"sha256": checked.sha256}},
    ]
    predicate = {
        "leanmark": importlib.metadata.version("leanmark"),
        "test_digest": base.test_digest,
        "arm": arm,
        "witnesses": len(checked.content.witnesses),
        "held": effective,
        "remark": remark,
    }
    signed = sign_statement(SCHEMA, subject, predicate, signer)
    folder = model.parent / WITNESS_FOLDER
    folder.mkdir(exist_ok=True)
    write_bytes(folder / name, content)
    # Named after the file and the key, so that two people may add the same witnesses.
    path = folder / f"{checked.sha256[:NAME_DIGITS]}.{signer.public.key_id[:NAME_DIGITS]}.json"
    write_bytes(path, signed.content)
    return _verdict(name, arm, checked, effective, signer.public), path


def _known(model: Path, baseline: str | Path | None) -> Mapping[str, str]:
    """Return the content digests of the model and, if it exists, of its baseline."""
    usual = model.with_name(f"baseline{model.suffix}")
    other = Path(baseline) if baseline is not None else usual if usual.is_file() else None
    paths = {"candidate": model, **({} if other is None else {"baseline": other})}
    return {arm: subject_digests(path)["leanmarkContent"] for arm, path in paths.items()}


def _beside(model: Path) -> list[Path]:
    return sorted((model.parent / WITNESS_FOLDER).glob("*.npz"))


def _additions(model: Path) -> Mapping[str, PublicKey]:
    """Return who added which file: signed statements next to the model, each about this model and a stored file.

    Raises:
        CertificateError: a statement is malformed, or about another model or another file.
    """
    digests, found = subject_digests(model), {}
    # Sorted and bounded, because anybody may add files to the folder.
    for path in sorted((model.parent / WITNESS_FOLDER).glob("*.json"))[:MAX_ADDITIONS]:
        signed = read_statement(path.read_bytes(), SCHEMA)
        about, file = signed.subject
        beside = path.parent / str(file["name"])
        if dict(about["digest"]) != digests:
            raise CertificateError(f"{path} is about another model; remove it.")
        if not beside.is_file() or sha256_file(beside) != file["digest"]["sha256"]:
            raise CertificateError(f"{path} is about a witness file that is missing or was altered; restore that file.")
        found[str(file["name"])] = signed.signer
    return found


def _verdict(name: str, arm: str, checked: Checked, held: int, signer: PublicKey | None) -> Found:
    refused = tuple(f"witness {number}: {why}" for number, why in list(checked.refused.items())[:MOST_SHOWN])
    return Found(name, arm, len(checked.content.witnesses), held, refused, signer)


def _standing(
    model: Path, base: Base, answers: Answers, parts: Sequence[tuple[Checked, npt.NDArray[np.bool_]]]
) -> tuple[Standing, ...]:
    """Return the robust accuracy under all witnesses, over the stated samples, or over all attacked ones."""
    stated, count = _stated(model)
    # The statement's samples are used, so that a game never widens the set afterwards.
    count = count or max(file.content.header.samples for file, _ in parts)
    order = base.order[:count]
    right = answers.scores(base.test.subset(order)).correct
    sizes = sorted({eps for file, _ in parts for eps in file.content.header.eps})
    found = []
    for eps in sizes:
        down = np.zeros(len(order), dtype=np.bool_)
        for file, wrong in parts:
            down |= fallen(len(order), order, file.sound, wrong, eps)
        found.append(Standing(eps, len(order), stated.get(eps), float((right & ~down).mean())))
    return tuple(found)


def _stated(model: Path) -> tuple[Mapping[int, float], int]:
    """Return the stated upper bounds of the robust accuracy, by size of change, and their sample count."""
    path = statement_path(model.parent, Robustness.name)
    if not path.is_file():
        return {}, 0
    figures = Certificate(path.read_bytes()).profile.estimates
    names = {f"standing_{eps}_candidate": eps for eps in range(1, MAX_EPS + 1)}
    found = {eps: figures[name] for name, eps in names.items() if name in figures}
    return {eps: estimate.value for eps, estimate in found.items()}, max(
        (estimate.n for estimate in found.values()), default=0
    )
