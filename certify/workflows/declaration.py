"""Sign a maker's declarations about a model, completed by facts about the data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from certify import __version__
from certify.assessment.record_file import ModelDigests
from certify.assessments.declarations.assessment import Declarations
from certify.assessments.declarations.edition import NEWEST, DeclarationsEdition, load_edition
from certify.assessments.declarations.records import (
    FILE_NAME,
    DataFacts,
    Header,
    Named,
    Overlap,
    PartCounts,
    Record,
    Records,
)
from certify.attest.certificate import LINEAGE_NAME, Certificate
from certify.attest.issue import Stated, issue
from certify.attest.keys import SigningKey, signing_key
from certify.attest.statements import statement_files
from certify.core.data_use.times import now
from certify.core.errors import CertificateError, UsageError
from certify.core.files import write_bytes
from certify.data import Dataset, load
from certify.data.dataset import overlap
from certify.data.split import Split
from certify.model_file.model_file import open_model
from certify.model_file.subject import digests_of
from certify.workflows.statements import redraw_label

MAX_NAME = 200


def declare(
    model: str | Path,
    declarations: str | Path,
    *,
    data: Any = None,
    edition: str = NEWEST,
    name: str | None = None,
    signer: SigningKey | None = None,
) -> Certificate:
    """Sign ``declarations.yaml`` about a model, and store statement, records and the file itself next to it.

    Args:
        model: model that the declarations are about.
        declarations: the maker's file.
        data: data specification or data set with the model's test data: names of classes and columns are then searched,
            and samples counted by class and group. None uses name and digest of the test data from the statements next
            to the model.
        edition: edition of the assessment.
        name: display name of the model. Default: that of its statements.
        signer: signing key. Default: the user's own, created on first use.

    Returns:
        The statement; a refusal is a result too.

    Raises:
        UsageError: a file does not exist, the declarations are malformed, or the test data are unknown.
        CertificateError: the data are not those of the model's certificate.

    Example:
        >>> import certify
        >>> certify.declare("graded/model.onnx", "declarations.yaml").outcome_text
        'people none, faces no'
    """
    model, source = Path(model), Path(declarations)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise UsageError(f"The declarations {source} cannot be read: {error.strerror}.") from error
    with open_model(model) as opened:
        digests = digests_of(opened)
    constants, known = load_edition(edition), _statements(model, digests)
    facts, seen = _data(data, known, constants)
    header = Header(now(), __version__, ModelDigests(**digests), facts)
    records = Records.of_file(header, content, seen, str(source))
    copied, lineage = model.with_name(FILE_NAME), model.with_name(LINEAGE_NAME)
    # All statements about a model must use the same name for it.
    named = name or next((certificate.predicate["model"]["name"] for certificate in known), None)
    stated = Stated(named, lineage if lineage.is_file() else None, {FILE_NAME: source})
    issued = issue(Declarations(), model, records, constants.name, signer or signing_key(), model.parent, stated)
    # Copied next to the model, because the statement names the file by digest.
    if copied.resolve() != source.resolve():
        write_bytes(copied, content)
    redraw_label(model)
    return issued


def _statements(model: Path, digests: Any) -> list[Certificate]:
    """Return the statements about this model next to it, the efficiency certificate first."""
    found: list[Certificate] = []
    for path in (model, *statement_files([model.parent])):
        try:
            read = Certificate.read(path)
        except (CertificateError, UsageError):
            continue  # unreadable statement: verification reports it
        if dict(read.subject_digest) == dict(digests) and read.assessment.name != Declarations.name:
            found.append(read)
    return found


def _data(data: Any, known: list[Certificate], edition: DeclarationsEdition) -> tuple[DataFacts, tuple[Record, ...]]:
    stated = next(
        (
            certificate.predicate["data"]
            for certificate in known
            if "test_digest" in certificate.predicate.get("data", {})
        ),
        None,
    )
    if data is None:
        if stated is None:
            raise UsageError("No statement of the model names its test data; pass them with --data.")
        return DataFacts(stated["name"][:MAX_NAME], stated["test_digest"], False), ()
    dataset = load(data)
    digest = dataset.test_digest()
    # Declarations about data other than the certified data would not describe this model's test.
    if stated is not None and stated["test_digest"] != digest:
        raise CertificateError(
            f"The test split of {dataset.name} has the digest {digest[:16]}, but the model was certified on "
            f"{stated['name']} with {stated['test_digest'][:16]}; pass the data that it was certified on."
        )
    return DataFacts(dataset.name[:MAX_NAME], digest, True), _seen(dataset, edition)


def _seen(dataset: Dataset, edition: DeclarationsEdition) -> tuple[Record, ...]:
    """Return names in the data, counts of every split, and what the test split shares with others."""
    # Records hold no empty names.
    classes = tuple(str(name)[:MAX_NAME] for name in dataset.classes if str(name))
    columns = tuple(sorted({str(name)[:MAX_NAME] for split in dataset.parts.values() for name in split.groups}))
    pairs: Any = ((*pair.split("/"), count) for pair, count in overlap(dataset).items() if count is not None)
    shared = [Overlap(first, second, count) for first, second, count in pairs]
    parts = [_counts(name, split, dataset.classes, edition.least_counted) for name, split in dataset.parts.items()]
    named = [Named("class", classes), *([Named("column", columns)] if columns else [])]
    return (*named, *parts, *shared)


def _counts(part: Any, split: Split, classes: tuple[str, ...], least: int) -> PartCounts:
    by_class: dict[str, int] = {}
    if split.targets is None:
        for name, count in zip(classes, np.bincount(split.labels, minlength=len(classes)), strict=True):
            # Names are cut, so several may become equal; their counts are added.
            by_class[str(name)[:MAX_NAME]] = by_class.get(str(name)[:MAX_NAME], 0) + int(count)
    groups = {name[:MAX_NAME]: withheld(Counter(values.tolist()), least) for name, values in split.groups.items()}
    return PartCounts(part, len(split), split.whole_digest(), by_class, groups)


def withheld(counts: Counter[str], least: int) -> dict[str, int | None]:
    """Return counts of groups, with null for small ones.

    If only one would be withheld, the next smallest is withheld too, because the total would reveal it.

    Example:
        >>> withheld(Counter({"a": 90, "b": 7, "c": 1}), 5)
        {'a': 90, 'b': None, 'c': None}
    """
    # At least two, because a single withheld count could be computed from the total.
    ordered = sorted(counts.items(), key=lambda pair: (pair[1], pair[0]))
    small = {name for name, count in ordered if count < least}
    if len(small) == 1 and len(ordered) > 1:
        small.add(ordered[1][0])
    return {name: None if name in small else count for name, count in sorted(counts.items())}
