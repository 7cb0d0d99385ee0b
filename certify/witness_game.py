"""Witnesses that anybody adds to a stated model: a public game in which a claim can only fall."""

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
from certify.witnessing import Base, Checked, check, fallen, turned

SCHEMA = "witnesses-1"
NAME_DIGITS = 16
MOST_SHOWN = 3
MAX_ADDITIONS = 256


@dataclass(frozen=True)
class Found:
    """What one file of witnesses came to.

    Attributes:
        file: name.
        arm: model that they were made for.
        witnesses: in the file.
        held: of those, images that the model gets wrong.
        refused: why others count for nothing, the first few.
        signer: who added them; None for a file that was not added with a signature.
    """

    file: str
    arm: str
    witnesses: int
    held: int
    refused: tuple[str, ...]
    signer: PublicKey | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        signer = None if self.signer is None else self.signer.hex
        return {**vars(self), "refused": list(self.refused), "signer": signer}


@dataclass(frozen=True)
class Standing:
    """What stands of the model at a size of change: the share stated, and the share that is left now."""

    eps: int
    samples: int
    stated: float | None
    now: float

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return dict(vars(self))


@dataclass(frozen=True)
class Checks:
    """All files of witnesses for a model, and what they leave standing.

    Attributes:
        files: one by one.
        standing: by size of change, ascending.
    """

    files: tuple[Found, ...]
    standing: tuple[Standing, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "files": [one.to_json() for one in self.files],
            "standing": [one.to_json() for one in self.standing],
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
    """Check witnesses for a model, one forward pass each, and what they leave of its claim.

    Args:
        model: the file; with a claim where one is stated beside it.
        files: of witnesses; besides those in ``witnesses/`` beside the model.
        data: whose test part the witnesses begin from.
        baseline: file that some were made for; ``baseline.onnx`` beside the model where it is there.
        preprocess: the model's contract; None takes the one that the file carries.
        runtime: adapter.

    Raises:
        DataError: a file is of another model or other samples, or there is none.
        CertificateError: the signature of an addition is not that of its key.
    """
    model = Path(model)
    dataset = load(data)
    base, known, added = Base.of(dataset), _known(model, baseline), _additions(model)
    listed = {path.name: path for path in [*_beside(model), *map(Path, files)]}
    if not listed:
        raise DataError(f"There are no witnesses for {model}: name a file, or put some into {WITNESS_FOLDER}/.")
    checked = {name: check(path, base, known) for name, path in sorted(listed.items())}
    with Answers(model, contract_of(model, preprocess), len(dataset.classes), runtime=runtime) as asked:
        wrong = {name: turned(asked, base, one.sound) for name, (_, one) in checked.items()}
        found = tuple(
            _found(name, arm, one, int(wrong[name].sum()), added.get(name)) for name, (arm, one) in checked.items()
        )
        parts = [(one, wrong[name]) for name, (_, one) in checked.items()]
        return Checks(found, _standing(model, base, asked, parts))


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
    """Check witnesses, sign that they were found, and lay them beside the model.

    Whoever reads the model's statement later finds them with :func:`check_witnesses`: what stands can only fall, since
    no file is taken away or replaced.

    Args:
        model: the stated file.
        file: of witnesses.
        data: whose test part the witnesses begin from.
        baseline: file that they may have been made for; ``baseline.onnx`` beside the model where it is there.
        preprocess: the model's contract; None takes the one that the file carries.
        runtime: adapter.
        remark: for people.
        signer: key of whoever found them; anybody's.

    Returns:
        What they came to, and where the signed statement lies.

    Raises:
        DataError: the file is of another model or other samples, or no witness in it turns the model.
        CertificateError: the remark mixes scripts, or there are too many additions.
    """
    model, file = Path(model), Path(file)
    dataset = load(data)
    base, known = Base.of(dataset), _known(model, baseline)
    if (mixed := first_look_alike({"remark": remark or ""})) is not None:
        raise UsageError(f"{mixed} Write it in one script, or in Latin with Japanese, Korean or Chinese.")
    if len(_beside(model)) >= MAX_ADDITIONS:
        raise CertificateError(f"There are {MAX_ADDITIONS} files of witnesses beside {model}; merge some first.")
    arm, one = check(file, base, known)
    with Answers(model, contract_of(model, preprocess), len(dataset.classes), runtime=runtime) as asked:
        held = int(turned(asked, base, one.sound).sum())
    if not held:
        why = next(iter(one.refused.values()), "the model answers them right")
        raise DataError(f"No witness in {file} counts against {model} ({why}); nothing was added.")
    content = file.read_bytes()
    name = f"{one.sha256[:NAME_DIGITS]}.npz"
    subject = [
        {"name": subject_name(model), "digest": subject_digests(model)},
        {"name": name, "digest": {"sha256": one.sha256}},
    ]
    predicate = {
        "leanmark": importlib.metadata.version("leanmark"),
        "test_digest": base.test_digest,
        "arm": arm,
        "witnesses": len(one.content.witnesses),
        "held": held,
        "remark": remark,
    }
    signed = sign_statement(SCHEMA, subject, predicate, signer)
    folder = model.parent / WITNESS_FOLDER
    folder.mkdir(exist_ok=True)
    write_bytes(folder / name, content)
    path = folder / f"{one.sha256[:NAME_DIGITS]}.{signer.public.key_id[:NAME_DIGITS]}.json"
    write_bytes(path, signed.content)
    return _found(name, arm, one, held, signer.public), path


def _known(model: Path, baseline: str | Path | None) -> Mapping[str, str]:
    """Content digests of the model and, where it is there, of its baseline."""
    usual = model.with_name(f"baseline{model.suffix}")
    other = Path(baseline) if baseline is not None else usual if usual.is_file() else None
    paths = {"candidate": model, **({} if other is None else {"baseline": other})}
    return {arm: subject_digests(path)["leanmarkContent"] for arm, path in paths.items()}


def _beside(model: Path) -> list[Path]:
    return sorted((model.parent / WITNESS_FOLDER).glob("*.npz"))


def _additions(model: Path) -> Mapping[str, PublicKey]:
    """Who added which file: signed statements beside the model, each about this model and a file as it lies there.

    Raises:
        CertificateError: a statement is malformed, or is about another model or another file.
    """
    digests, found = subject_digests(model), {}
    for path in sorted((model.parent / WITNESS_FOLDER).glob("*.json"))[:MAX_ADDITIONS]:
        signed = read_statement(path.read_bytes(), SCHEMA)
        about, file = signed.subject
        beside = path.parent / str(file["name"])
        if dict(about["digest"]) != digests:
            raise CertificateError(f"{path} is about another model; take it away.")
        if not beside.is_file() or sha256_file(beside) != file["digest"]["sha256"]:
            raise CertificateError(f"{path} is about a file of witnesses that is not here as it was signed.")
        found[str(file["name"])] = signed.signer
    return found


def _found(name: str, arm: str, one: Checked, held: int, signer: PublicKey | None) -> Found:
    refused = tuple(f"witness {number}: {why}" for number, why in list(one.refused.items())[:MOST_SHOWN])
    return Found(name, arm, len(one.content.witnesses), held, refused, signer)


def _standing(
    model: Path, base: Base, asked: Answers, parts: Sequence[tuple[Checked, npt.NDArray[np.bool_]]]
) -> tuple[Standing, ...]:
    """What stands under all witnesses, over the samples that were stated, or all that were attacked."""
    stated, count = _stated(model)
    count = count or max(one.content.header.samples for one, _ in parts)
    order = base.order[:count]
    right = asked.scores(base.test.subset(order)).correct
    sizes = sorted({eps for one, _ in parts for eps in one.content.header.eps})
    found = []
    for eps in sizes:
        down = np.zeros(len(order), dtype=np.bool_)
        for one, wrong in parts:
            down |= fallen(len(order), order, one.sound, wrong, eps)
        found.append(Standing(eps, len(order), stated.get(eps), float((right & ~down).mean())))
    return tuple(found)


def _stated(model: Path) -> tuple[Mapping[int, float], int]:
    """Shares that a statement beside the model says stand at most, by size, and over how many samples."""
    path = statement_path(model.parent, Robustness.name)
    if not path.is_file():
        return {}, 0
    figures = Certificate(path.read_bytes()).profile.estimates
    names = {f"standing_{eps}_candidate": eps for eps in range(1, MAX_EPS + 1)}
    found = {eps: figures[name] for name, eps in names.items() if name in figures}
    return {eps: one.value for eps, one in found.items()}, max((one.n for one in found.values()), default=0)
