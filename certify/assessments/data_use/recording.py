"""From the use folder next to governed data to the records of a model made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certify.assessments.data_use.records import Header, Records
from certify.core.data_use.folder import UseFolder
from certify.core.data_use.guard import Use
from certify.core.data_use.merkle import root_of
from certify.core.data_use.vocabulary import Action


def record(
    folder: UseFolder,
    use: Use,
    model: Mapping[str, str],
    actions: Sequence[Action],
    identifiers: Sequence[str],
    created: str,
    leanmark: str,
) -> Records:
    """Record how a model's data were used, after the journal lists the model.

    Args:
        folder: use folder next to the data.
        use: declared use of the data.
        model: digests of the model, ``sha256`` and ``leanmarkContent``.
        actions: actions by which it saw records.
        identifiers: keyed identifiers of the records that it saw.
        created: UTC time.
        leanmark: version that writes the records.

    Returns:
        All records; :func:`certify.assessments.data_use.records.write` splits them.

    Raises:
        CertificateError: policy, list, journal or register is missing or was altered.
    """
    (policy, register), journal = folder.untouched(), folder.journal()
    seen = tuple(sorted(set(identifiers)))
    header = Header(
        created=created, leanmark=leanmark, model=dict(model), purpose=use.purpose, recipient=use.recipient,
        actions=tuple(actions), policy=policy.digest, root=root_of(seen), journal=journal.head, consent=register.head,
    )  # fmt: skip
    return Records(header, policy, journal, seen, tuple(sorted(folder.records(policy))), register)
