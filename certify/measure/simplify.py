"""Simplification of the baseline: the simplified file is measured, so that padding does not pay.

The person who chooses the baseline can pad it: with averaged copies of itself, branches that add next to nothing,
kernels with zero borders, pairs of Casts, or Loops. All simplifications keep the outputs for real samples. What a
runtime removes itself on loading is not padding; a file from which nothing else can be removed stays unchanged.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from certify.core.errors import MeasureError, ModelError
from certify.core.evidence import Observation
from certify.core.measuring_rules import MeasuringRules
from certify.core.progress import Progress
from certify.core.run_observations import Simplified
from certify.core.sample_order import SIMPLIFYING, order_seed, ranked
from certify.data.contract_slot import normalise
from certify.data.dataset import Dataset
from certify.data.preprocess import Preprocess
from certify.measure.faster_form import applies_to, faster_form
from certify.measure.inputs import save_samples
from certify.measure.plan import Plan
from certify.measure.variants import Answers, VariantBench
from certify.model_file.model_file import kind_of, open_model
from certify.model_file.onnx_file.onnx_file import OnnxFile
from certify.model_file.onnx_graph.branches import branches, without
from certify.model_file.onnx_graph.data_sized import subgraphs
from certify.model_file.onnx_graph.einsum import as_layers
from certify.model_file.onnx_graph.equal_values import (
    FEWEST_RUNS,
    OBSERVED,
    comparable_values,
    denormal_values,
    dequantized_values,
    equal_values,
    looking_at,
    replaced,
    steady_values,
)
from certify.model_file.onnx_graph.functions import inlined
from certify.model_file.onnx_graph.load import load_model
from certify.model_file.onnx_graph.needless_work import needless_work
from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS, compute_of
from certify.model_file.onnx_graph.repetitions import looking_at_slices, repetitions, sliced_values
from certify.model_file.onnx_graph.scaled_channels import shorten_chains
from certify.model_file.onnx_graph.shapes import infer
from certify.model_file.onnx_graph.taken_branches import conditions, looking_at_conditions, with_branches
from certify.model_file.onnx_graph.trimming import trim_kernels
from certify.model_file.onnx_graph.unrolling import unroll
from certify.model_file.onnx_graph.weak_weights import channel_sizes, looking_at_channels, read_channels, without_weak
from certify.model_file.onnx_graph.work import macs_of

LARGEST_BYTES = 1_500_000_000
"""Size limit of files to simplify; a protobuf message holds at most 2 GB."""
LOOKS = 16
"""Number of samples on which values are compared."""
STRICTER = (1.0, 0.1, 0.001)
"""Fractions of the tolerance that are tried in turn until the outputs are kept."""
WORTH = 0.02
"""Minimum fraction of the cost or of the bytes that must be removed to change a file, and of the cost to remove a
branch. There is no minimum for values that equal an earlier one."""
WEAK = ((0.03, 0.1), (0.03, 0.03), (0.01, 0.01))
"""Fractions of the largest share of an output below which weights, and whole channels and kernel positions of weights,
are weak; tried in turn until the outputs are kept."""
BRANCHES = 32
"""Maximum number of branches to try removing, and of Ifs to try replacing one by one."""
NESTED = 4
"""Depth to which nested Ifs are replaced."""
NAMED = 6
"""Number of operator types to name."""


def simplify(
    path: Path, contract: Preprocess, dataset: Dataset, plan: Plan, rules: MeasuringRules, progress: Progress
) -> Observation:
    """Simplify a baseline's file in place, if there is something to remove or to rewrite in a faster form.

    Args:
        path: the file, in normal form.
        contract: its preprocessing contract.
        dataset: data with the test samples to run it on.
        plan: plan with the batch, and the salt that an audit adds to the order of the samples.
        rules: rules of the edition.
        progress: display of the progress.

    Returns:
        Costs of the file before and after, what was removed, and what was rewritten.
    """
    with open_model(path) as model:
        size, digest = model.size_bytes(), model.file_digest()
    if kind_of(path) is not OnnxFile or size > LARGEST_BYTES:
        return Observation.of(Simplified(digest, size, size, unread="files of its kind or size are not looked at"))
    # By the file's digest, so that a maker cannot know which samples will be looked at before the file exists.
    order = ranked(dataset.test.digests(), order_seed([digest], dataset.test_digest(), plan.salt), SIMPLIFYING)
    with tempfile.TemporaryDirectory(prefix="leanmark-simplify-") as name:
        folder = Path(name)
        bench = VariantBench(contract, plan.batch, folder, folder / "samples.npy", folder / "looks.npy")
        least = FEWEST_RUNS * plan.batch
        for file, count in ((bench.samples, rules.simplified_samples), (bench.looks, LOOKS)):
            save_samples(file, dataset.test, order[: max(least, count)], contract)
        try:
            with progress.task("Simplifying the baseline"):
                original = load_model(path)
                answers = Answers(bench, original)
                lean, found = _leanest(bench, original, answers, rules, int(digest[:8], 16))
            if applies_to(plan) and (faster := _faster(bench, lean or original, answers, rules, progress)) is not None:
                lean, found["rewritten"] = faster
        except (ModelError, MeasureError) as error:
            reason = " ".join(str(error).replace(f"{folder}/", "").split())
            return Observation.of(Simplified(digest, size, size, failed=reason))
        if lean is not None:
            onnx.save(lean, str(folder / "lean.onnx"))
            # Written in normal form, like the file that it replaces.
            normalise(folder / "lean.onnx", path, contract)
    return Observation.of(Simplified(digest, size, path.stat().st_size, **found))


def _faster(
    bench: VariantBench, model: onnx.ModelProto, answers: Answers, rules: MeasuringRules, progress: Progress
) -> tuple[onnx.ModelProto, list[str]] | None:
    """Return the model in a form that its runtime runs faster, and how it was rewritten; None if it stays."""
    with progress.task("Trying faster forms of the baseline"):
        forms = (model, bench.as_loaded(model))  # the loaded form lacks operators that separate others
        return faster_form(forms, bench.opened, lambda tried: answers.same(tried, rules.equal_outputs, rules))


def _leanest(
    bench: VariantBench, original: onnx.ModelProto, answers: Answers, rules: MeasuringRules, seed: int
) -> tuple[onnx.ModelProto | None, dict[str, Any]]:
    """Return the simplified model (None if not worthwhile), the costs of both, and what was removed."""
    # Work on a copy, because unrolling changes the graph in place.
    flat = onnx.ModelProto()
    flat.CopyFrom(inlined(original))
    loops = unroll(flat.graph)
    flat, branches_taken = _without_conditions(bench, flat, answers, rules)
    loaded = bench.as_loaded(original)
    start = bench.as_loaded(flat) if loops or branches_taken else loaded
    cost = bench.cost(loaded)
    sample = bench.contract.port_shape(1)[1:]
    kinds = comparable_values(start, sample)
    observed = bench.run(looking_at(start, list(kinds), seed), OBSERVED, bench.looks)
    lean, cut, integers = start, list[str](), dequantized_values(start.graph)
    for share in STRICTER:
        equal = equal_values(kinds, observed, share * rules.equal_values, integers)
        tried = replaced(start, equal)
        kernels = trim_kernels(tried)
        # Smaller tolerances find no more than larger ones did.
        if not equal and not kernels:
            break
        tried = bench.as_loaded(tried)
        if answers.same(tried, rules.equal_outputs, rules):
            lean, cut = tried, kernels
            break
    lean = _with_short_chains(bench, lean, answers, rules)
    lean = _without_branches(bench, lean, kinds, answers, rules)
    left = bench.cost(lean)
    peculiar = denormal_values(kinds, observed), steady_values(kinds, observed)
    needless = {**_needless(bench, lean, answers, rules, seed, peculiar), **_unseen(bench, lean)}
    # Values that equal others are removed even if they are cheap: they may be slow, or change other answers.
    whole = left > (1 - WORTH) * cost and lean.ByteSize() > (1 - WORTH) * original.ByteSize()
    if whole and not _fewer(start, lean):
        return None, {"given_cost": cost, "cost": cost, **needless}
    trips = [f"{len(loops)} loops with fixed trip counts"] if loops else []
    kernels = [f"the borders of {len(cut)} kernels"] if cut else []
    ifs = [f"{branches_taken} Ifs whose branches make no difference"] if branches_taken else []
    removed = [*_fewer(start, lean), *trips, *ifs, *kernels]
    return lean, {"given_cost": cost, "cost": left, "removed": removed, **needless}


def _without_conditions(
    bench: VariantBench, flat: onnx.ModelProto, answers: Answers, rules: MeasuringRules
) -> tuple[onnx.ModelProto, int]:
    """Replace each If by one of its branches, if that keeps the outputs; return how many were replaced."""
    count = 0
    for _ in range(NESTED):
        names = conditions(flat.graph)
        if not names:
            break
        shares = bench.run(looking_at_conditions(flat), OBSERVED, bench.looks).mean(axis=0)
        # The branch that most samples take is the likeliest to keep the outputs.
        usual = {name: bool(share >= 0.5) for name, share in zip(names, shares, strict=True)}
        before = count
        # All at once first, as that is one try; then one by one for those that cannot all go.
        for taken in (usual, *({name: way} for name in names[:BRANCHES] for way in (usual[name], not usual[name]))):
            left = taken.keys() & set(conditions(flat.graph))
            if left and answers.same(tried := with_branches(flat, taken), rules.equal_outputs, rules):
                flat, count = tried, count + len(left)
        if count == before:
            break
    return flat, count


def _unseen(bench: VariantBench, lean: onnx.ModelProto) -> dict[str, Any]:
    """Return the work in which padding cannot be detected: in subgraphs, on integers, and of unknown operators."""
    work, values = bench.work(lean), infer(lean, bench.contract.port_shape(1)[1:]).values
    inside = {node.op_type for node in lean.graph.node if subgraphs(node)} if work.inside else set()
    integer = [node for node in lean.graph.node if (one := compute_of(node)) is not None and one.quantized]
    names = sorted(inside | {node.op_type for node in integer} | set(work.missed))
    cost = work.inside + sum(macs_of(node, values) or 0 for node in integer)
    return {"unseen_cost": work.total if work.missed else cost, "unseen": names} if names else {}


def _needless(
    bench: VariantBench,
    lean: onnx.ModelProto,
    answers: Answers,
    rules: MeasuringRules,
    seed: int,
    peculiar: tuple[set[str], set[str]],
) -> dict[str, Any]:
    """Return the work that remains although the outputs do not need it, and the operators with the most of it."""
    sample = bench.contract.port_shape(1)[1:]
    lean = as_layers(lean)
    kinds = comparable_values(lean, sample)
    axes = sliced_values(lean, kinds)
    observed = bench.run(looking_at_slices(lean, axes, kinds, seed), OBSERVED, bench.looks) if axes else None
    repeats = {} if observed is None else repetitions(axes, observed, rules.equal_values)
    found = needless_work(lean, sample, repeats, *peculiar)
    if channels := read_channels(lean, kinds):
        sizes = channel_sizes(
            channels, kinds, bench.run(looking_at_channels(lean, channels, kinds), OBSERVED, bench.looks)
        )
        for anywhere, whole in WEAK:
            tried = without_weak(lean, sizes, anywhere, whole)
            more = needless_work(tried, sample, repeats, *peculiar)
            if sum(more.values()) - sum(found.values()) < WORTH * bench.cost(lean):
                break
            if answers.same(tried, rules.equal_values, rules, offset=True):
                found = more
                break
    if repeated := bench.work(lean).repeated:
        found["the same in each trip of a Loop or Scan"] = repeated
    most = sorted(found, key=lambda name: -found[name])[:NAMED]
    return {"needless_cost": sum(found.values()), "needless": most} if found else {}


def _with_short_chains(
    bench: VariantBench, lean: onnx.ModelProto, answers: Answers, rules: MeasuringRules
) -> onnx.ModelProto:
    """Shorten chains by themselves, as one that only rounds to zero would otherwise keep equal values in the file."""
    short = onnx.ModelProto()
    short.CopyFrom(lean)
    if not shorten_chains(short, bench.contract.port_shape(1)[1:]):
        return lean
    short = bench.as_loaded(short)
    return short if answers.same(short, rules.equal_outputs, rules) else lean


def _without_branches(
    bench: VariantBench,
    lean: onnx.ModelProto,
    kinds: Mapping[str, tuple[int, ...]],
    answers: Answers,
    rules: MeasuringRules,
) -> onnx.ModelProto:
    """Remove parallel branches that the outputs do not need; this fixes the file to the batch size."""
    for branch in branches(lean.graph)[:BRANCHES]:
        computed = any(branch in node.output for node in lean.graph.node)
        kind = kinds.get(branch) if computed else None
        if kind is None:
            continue
        # Shapes are known for one sample; only the first axis can be the batch of several.
        shape = kind[1:] if bench.batch == 1 else (bench.batch, *kind[2:])
        tried = without(lean, branch, shape, kind[0])
        if bench.cost(tried) < (1 - WORTH) * bench.cost(lean) and answers.same(tried, rules.equal_values, rules):
            lean = bench.as_loaded(tried)
    return lean


def _fewer(before: onnx.ModelProto, after: onnx.ModelProto) -> list[str]:
    """Return how many operators of each type were removed."""
    types = [Counter(n.op_type for n in model.graph.node if n.domain in STANDARD_DOMAINS) for model in (before, after)]
    gone = (types[0] - types[1]).most_common(NAMED)
    return [f"{count} of {types[0][name]} {name}" for name, count in gone]
