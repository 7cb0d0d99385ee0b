"""Making models again without withdrawn records: exact unlearning, since nothing that saw them is reused.

A job starts from its original, which is trained again if the job trained it, and then applies each pass again: loaders
skip withdrawn records, and neither cached baselines nor finished steps of other data are used. No finished pass is
reused, even if it read no withdrawn record: a job removes its workspace at the end, and a ledger says which parts a
pass read, not which of their records.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from certify.core.data_use.folder import MadeModel
from certify.core.data_use.guard import Use, using
from certify.core.errors import LeanmarkError
from certify.core.private_data import DataKey
from certify.core.progress import Progress
from compress.job.pipeline import run

Outcome = dict[str, str]


def retrain_all(models: Sequence[MadeModel], key: DataKey, signing: Path | None, progress: Progress) -> list[Outcome]:
    """Make models again in their folders, without measuring them.

    Args:
        models: models that saw withdrawn records.
        key: key of the data holder.
        signing: private key file for signing; the user's own by default.
        progress: where to report progress.

    Returns:
        For each compressed model its ``path``, an ``outcome`` (``made`` or ``declined``) and a ``sentence``.
    """
    # Later entries replace earlier ones: a folder's model may have been made more than once.
    latest = {each.path: each for each in models if each.role == "model"}
    return [_again(each, models, key, signing, progress) for each in latest.values()]


def _again(
    model: MadeModel, models: Sequence[MadeModel], key: DataKey, signing: Path | None, progress: Progress
) -> Outcome:
    """Make one model again, unless its start saw the records; an original without parents is trained by the job."""
    if model.job is None:
        return _declined(model, "it was made from Python objects, so run that program again")
    job: dict[str, Any] = dict(model.job)
    start = job.pop("weights_digest", None)
    names = {name for each in models for name in (each.sha256, each.content, *each.files)}
    folder = Path(model.path).parent
    # A model of private data is made again as one: otherwise its new files would name every sample.
    parts = job.pop("private_parts", None)
    job |= {} if parts is None else {"data_key": key, "private_parts": parts}
    original = [each for each in models if each.sha256 in model.parents and Path(each.path).parent == folder]
    if start in names or any(each.parents for each in original):
        return _declined(model, "it starts from the weights of a model that saw the records; make that one again first")
    try:
        with using(Use(model.purpose, job.pop("recipient"), key)):
            run(**job, out=Path(model.path).parent, measure=False, key=signing, progress=progress)
    except LeanmarkError as error:
        return _declined(model, str(error))
    message = f"{model.path} was made again without them; measure it with leanmark certify."
    return {"path": model.path, "outcome": "made", "sentence": message}


def _declined(model: MadeModel, why: str) -> Outcome:
    return {"path": model.path, "outcome": "declined", "sentence": f"{model.path} was not made again: {why}"}
