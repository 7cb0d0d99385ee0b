"""Static quantization: 8-bit weights and activations, with as many layers kept in floats as the budget requires."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx

from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.context import PassContext
from compress.core.onnx_session import session
from compress.core.pass_protocol import Declined, PassRecord
from compress.onnx_graph.graph import Graph, count_types, require_nodes, share_constants
from compress.onnx_graph.scopes import FLOAT_PARTS, INT4_PARTS, chosen_earlier, still_named
from compress.quantization.post_training.equalization import find_pairs
from compress.quantization.post_training.quantizer import Quantizer, StaticSettings
from compress.quantization.post_training.score_products import with_integers
from compress.quantization.post_training.sensitivity import fewest_kept
from compress.quantization.post_training.target_steps import floats_for, measured_speed, with_zero_points
from compress.quantization.post_training.weight_only import with_int4_weights

OVER_BUDGET = "the loss on validation data was above the budget"
CHOSEN = "the choice of formats keeps it float"


@dataclass(frozen=True)
class Choice:
    """Formats chosen by something other than the budget.

    Attributes:
        floats: names of nodes that stay float.
        int4: names of nodes that stay float with 4-bit weights where they are matrix products.
        notes: notes for the record.
        declined: what could not be chosen.
        refused: why no choice meets the request; None if one does.
    """

    floats: tuple[str, ...] = ()
    int4: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    declined: tuple[Declined, ...] = ()
    refused: str | None = None


Chooser = Callable[[Quantizer, Sequence[str]], Choice]
"""Chooses which nodes stay float besides the given ones."""


def quantize_static(
    settings: StaticSettings, path: Path, context: PassContext, choose: Chooser | None = None
) -> tuple[Path, PassRecord]:
    """Write a quantized file; return the given file, declined, if nothing can be quantized or the loss is too large.

    Args:
        settings: settings of the pass.
        path: path of an ONNX file.
        context: calibration and validation samples, and the folder of the new file.
        choose: chooses the formats of the layers; by default as many become integers as the budget allows.

    Raises:
        UsageError: ``keep_nodes`` names a node that does not exist, or there are no calibration samples.
        ModelError: ONNX Runtime cannot prepare, quantize, run or load the file.
    """
    target = settings.target
    folder = context.workspace or path.parent
    source = load_model(path)
    if any(node.op_type == "QuantizeLinear" for node in source.graph.node):
        return path, PassRecord.refused("its activations are already quantized, and rounding twice only loses accuracy")
    stay_float, few_bits = (chosen_earlier(source, context.earlier, fields) for fields in (FLOAT_PARTS, INT4_PARTS))
    gone = _gone(stay_float | few_bits)
    del source  # before the next copy of the weights is in memory
    graph = floats_for(target, path, folder)
    before = [node.name for node in graph.weighted()]
    chosen, int4 = (still_named(graph.model, sum(parts.values(), [])) for parts in (stay_float, few_bits))
    kept = [*_kept(settings, graph, before), *chosen]
    if not before:
        return path, PassRecord.refused("it has no float layer with weights")
    quantizer = _least_lossy(settings, path, graph, context, kept, int4)
    choice = None if choose is None else choose(quantizer, kept)
    if choice is None:
        integers, budget = _within_budget(settings, quantizer, kept, before)
    elif choice.refused is not None:
        return path, PassRecord.refused(choice.refused, choice.declined)
    else:
        integers, budget = _as_chosen(choice, quantizer, kept, before)
    floats = budget.get("left_float", ())
    if (over := quantizer.excess(integers)) > quantizer.limit:
        more = "max_float" if choice is None else "a larger share of the cost"
        return path, PassRecord.refused(_too_lossy(over, f"{len(floats)} of {len(before)}", more))
    moved = with_zero_points(target, quantizer, integers)
    share_constants(moved.model.graph)
    written = folder / f"{path.stem}.int8.onnx"
    # Loaded before it gets its name, so that no file is left behind that the runtime refuses.
    with onnx_file.replacing(written) as beside:
        onnx_file.save(moved.model, beside)
        session(beside)  # check that the runtime loads it
    speed = measured_speed(target, settings.max_time, path, written, context)
    if speed.slow is not None:
        for part in onnx_file.parts(written):
            part.unlink()
        return path, PassRecord.refused(speed.slow)
    after = Graph(moved.model)
    remaining = [node.name for node in after.weighted()]
    done = {
        "target": target.name,
        "why": target.reason,
        "activation_type": target.activation_type,
        "weight_type": target.weight_type,
        "weight_bits": 7 if target.reduce_range else 8,
        "per_channel": settings.per_channel,
        "calibration": settings.calibration,
        **quantizer.notes,
        **budget,
        **moved.notes,
        **speed.notes,
        **({"scores": with_integers(after, quantizer.scores)} if quantizer.scores else {}),
        "quantized": len(before) - len(remaining),
        "kept_float": len(remaining),
        "operators": count_types(moved.model.graph),
    }
    if target.saturates:
        done["saturation"] = asdict(quantizer.saturation(after))
    reasons = dict.fromkeys(kept, "the recipe keeps it float") | dict.fromkeys(chosen, CHOSEN)
    reasons |= dict.fromkeys(floats, OVER_BUDGET if choice is None else CHOSEN)
    why = "ONNX Runtime's quantizer leaves it float"
    left = tuple(Declined(name, reasons.get(name, why)) for name in remaining)
    declined = () if choice is None else choice.declined
    return written, PassRecord(done, (*quantizer.declined, *moved.declined, *declined, *gone, *left))


def _too_lossy(loss: float, floats: str, more: str) -> str:
    """Return why a quantized model is declined.

    Args:
        loss: loss of accuracy in percent; infinite for a ruined model.
        floats: how many layers were left float.
        more: what allows more of them.
    """
    lost = "its outputs no longer distinguish samples" if loss == math.inf else f"it loses {loss:.3g} % of its accuracy"
    return f"{lost} with {floats} layers left float; allow more with {more}, a larger max_loss, or remove the pass"


def _gone(parts: Mapping[str, Sequence[str]]) -> tuple[Declined, ...]:
    """Return a note if some parts are no longer in the file."""
    gone = [part for part, names in parts.items() if not names]
    why = (
        f"{len(gone)} of {len(parts)} parts with a chosen format are no longer in the file, such as "
        f"'{next(iter(gone), '')}'; what replaced them was treated like other layers"
    )
    return (Declined("choice of formats", why),) if gone else ()


def _kept(settings: StaticSettings, graph: Graph, weighted: list[str]) -> list[str]:
    """Return the names of the nodes that the recipe keeps in floats."""
    require_nodes(graph, settings.keep_nodes)
    ends = weighted[:1] * settings.keep_first + weighted[-1:] * settings.keep_last
    return list(dict.fromkeys((*settings.keep_nodes, *ends)))


def _least_lossy(
    settings: StaticSettings, path: Path, graph: Graph, context: PassContext, kept: list[str], int4: list[str]
) -> Quantizer:
    """Return a quantizer of the model as it is, or equalised if it otherwise loses too much and then loses less.

    Equalising does not change the float model and gives channels of very different ranges one scale.
    """
    plain = Quantizer(settings, path, graph, context, int4)
    excess = plain.excess(plain.make(kept))
    if settings.equalize is not None or excess <= plain.limit or not find_pairs(graph)[0]:
        return plain
    again = floats_for(settings.target, path, context.workspace or path.parent)
    equalised = Quantizer(replace(settings, equalize=True), path, again, context, int4)
    return equalised if equalised.excess(equalised.make(kept)) < excess else plain


def _within_budget(
    settings: StaticSettings, quantizer: Quantizer, kept: list[str], weighted: list[str]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return the quantized model, with as many of the worst layers in floats as the budget requires.

    The second value is for the record: the loss, and the layers that stay float because of it.
    """
    candidate, left = quantizer.make(kept), {}
    if quantizer.scores and quantizer.excess(candidate) > quantizer.limit:  # before layers, which save more
        kept = [*kept, *quantizer.scores]
        candidate = quantizer.make(kept)
    most = int(settings.max_float * len(weighted))
    if most and quantizer.excess(candidate) > quantizer.limit:
        worst = [name for name in quantizer.worst_first(candidate) if name not in kept]
        count = fewest_kept(lambda n: quantizer.excess(quantizer.make([*kept, *worst[:n]])), quantizer.limit, most)
        candidate, left = quantizer.make([*kept, *worst[:count]]), {"left_float": worst[:count]}
    if not quantizer.judged:
        return candidate, left
    return candidate, {"validation_loss_percent": quantizer.loss(candidate).value, **left}


def _as_chosen(
    choice: Choice, quantizer: Quantizer, kept: list[str], weighted: list[str]
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return the model quantized in the chosen formats, and the notes for the record."""
    floats = [*kept, *choice.floats, *choice.int4]
    if quantizer.scores and quantizer.excess(quantizer.make(floats)) > quantizer.limit:
        floats += quantizer.scores
    mixed = with_int4_weights(quantizer.make(floats), choice.int4)
    int4 = {"int4": [name for name in weighted if name in choice.int4]} if choice.int4 else {}
    notes = {**choice.notes, **int4, "left_float": [n for n in weighted if n in choice.floats and n not in kept]}
    return mixed, {"validation_loss_percent": quantizer.loss(mixed).value, **notes} if quantizer.judged else notes
