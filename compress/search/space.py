"""The search space: recipes as points of about a dozen named choices.

A choice names a parameter of a pass, such as ``structured_prune.macs``. A pass, parameter or value that the installed
passes do not have is omitted automatically, so that one table serves networks of every kind and future passes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pydantic import ValidationError

from compress import passes
from compress.core.pass_protocol import Pass
from compress.job import recipe as recipes
from compress.job.recipe import Budget, Recipe, Workload
from compress.passes.cost_options import COSTS, chooses_by_cost
from compress.search.choice import Asker, Choice, Params, Value

Network = Literal["convolutional", "transformer"]

FLOAT = "float"
FORMAT = "format"
"""The choice of the number format: the name of the pass that produces it, or ``float``."""
PRUNE = "structured_prune"
BY_COST = "by_cost"
"""The choice whether a knapsack over measured costs selects the widths and blocks, instead of multiply-adds."""
ORDER = (
    "depth_prune", "structured_prune", "low_rank", "distill", "qat", "trim_kernels", "space_to_depth",
    "pad_channels", "quantize_static", "quantize_dynamic", "quantize_weights", "quantize_embeddings", "fast_kernels",
    "half",
)  # fmt: skip
"""Order of the passes in a recipe."""
LOSSLESS = {"convolutional": ("trim_kernels", "space_to_depth", "pad_channels"), "transformer": ("fast_kernels",)}
"""Passes that change no answer, included in every recipe that benefits from them."""
FOR_CPU = ("fast_kernels",)
"""Those of them that gain nothing on a GPU."""
PADDED_FORMAT = "quantize_static"
"""The format with kernels for which ``pad_channels`` helps; in floats it only adds work."""
LIKELY_SHARES = (0.9, 0.86, 0.8)
"""Shares of the original's cost at which a search begins."""
EPOCHS = (0, 1, 2, 4, 8, 16, 32, 64)
TRAINED_FORMAT = "qat"
"""A format that is a torch pass: no ONNX pass except ``trim_kernels`` follows it."""


@dataclass(frozen=True)
class Space:
    """Everything that a search may choose.

    Attributes:
        choices: choices in the order in which they are made; later ones may depend on earlier ones.
        always: passes of every recipe.
        budget: budget of every recipe.
        workload: workload of every recipe.

    Example:
        >>> space = make_space("convolutional", budget=Budget(max_loss_percent=1), stages=("torch", "onnx"))
        >>> [each.name for each in space.recipe({"structured_prune.macs": 0.5, "format": "float"}).passes]
        ['structured_prune', 'trim_kernels', 'space_to_depth']
    """

    choices: tuple[Choice, ...]
    always: tuple[str, ...]
    budget: Budget
    workload: Workload

    def suggest(self, asker: Asker) -> dict[str, Value]:
        """Make every choice that applies."""
        params: dict[str, Value] = {}
        for choice in self.choices:
            if self._arises(choice, params):
                params[choice.name] = choice.ask(asker)
        return params

    def recipe(self, params: Params, name: str = "searched") -> Recipe:
        """Return the recipe of a point.

        Args:
            params: chosen values; missing ones take the default of their pass.
            name: name of the recipe.

        Raises:
            UsageError: a value is not allowed.
        """
        on = self._passes(params)
        own = {each: {} if each in self.always else self._parameters(each, params) for each in on}
        return recipes.load(
            {
                "name": name,
                "description": "Found by leanmark search.",
                "budget": self.budget.model_dump(),
                "workload": self.workload.model_dump(),
                "passes": [{each: own[each]} if own[each] else each for each in ORDER if each in on],
            }
        )

    def point(self, recipe: Recipe) -> dict[str, Value] | None:
        """Return the point nearest to a recipe, or None if the recipe repeats a pass or has one outside the space."""
        names = [each.name for each in recipe.passes if each.name not in self.always]
        known = {choice.of for choice in self.choices} | set(self._formats())
        if len(set(names)) < len(names) or not set(names) <= known:
            return None
        by_name: dict[str, Pass] = {each.name: each for each in recipe.passes}
        params: dict[str, Value] = {}
        for choice in self.choices:
            if self._arises(choice, params):
                params[choice.name] = choice.nearest(_wanted(choice, by_name))
        return params

    def likely(self, shipped: Sequence[Params] = ()) -> Iterator[dict[str, Value]]:
        """Yield points that are often good: a little narrower, refitted without training, then in integers.

        Args:
            shipped: points of shipped recipes; what a point does besides pruning follows the first that makes integers
                and removes nothing, and is left open if there is none.
        """
        known = {choice.name: choice for choice in self.choices}
        width = next((name for goal in (*COSTS, "macs") if (name := f"{PRUNE}.{goal}") in known), None)
        if width is None or PADDED_FORMAT not in self._formats():
            return
        by_cost = {BY_COST: True} if BY_COST in known else {f"{PRUNE}.reconstruct": True}
        own = {choice.name for choice in self.choices if choice.of in (PRUNE, BY_COST)}
        off = {choice.name: choice.off for choice in self.choices if choice.decides and choice.name not in own}
        rest = next((dict(each) for each in shipped if self._only_integers(each)), {})
        rest = {name: value for name, value in rest.items() if name not in own}
        for share in LIKELY_SHARES:
            yield {**off, **rest, **by_cost, width: known[width].nearest(share), FORMAT: PADDED_FORMAT}

    def _only_integers(self, params: Params) -> bool:
        """Return whether a point makes integers of a network from which it removes nothing."""
        removing = any(passes.find(name).stage == "torch" for name in self._passes(params))
        return params.get(FORMAT) == PADDED_FORMAT and not removing

    def digest(self) -> str:
        """Return the hex SHA-256 of all choices with the versions of the passes."""
        versions = {each: passes.find(each).version for each in ORDER if each in passes.names()}
        values = {
            "choices": [asdict(each) for each in self.choices], "always": self.always, "versions": versions,
            "budget": self.budget.model_dump(), "workload": self.workload.model_dump(),
        }  # fmt: skip
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def _formats(self) -> tuple[Value, ...]:
        return next((choice.values for choice in self.choices if choice.name == FORMAT), ())

    def _arises(self, choice: Choice, params: Params) -> bool:
        if choice.given and params.get(choice.given) is None:
            return False
        if any(params.get(name) is not None for name in choice.unless):
            return False
        return choice.needs is None or choice.needs in self._passes(params)

    def _passes(self, params: Params) -> set[str]:
        """Return the names of the passes of a point."""
        on = {c.of for c in self.choices if c.decides and params.get(c.name, c.off) != c.off}
        chosen = params.get(FORMAT, FLOAT)
        always = [each for each in self.always if _gains(each, chosen)]
        return {*on, *always, *([] if chosen == FLOAT else [str(chosen)])}

    def _parameters(self, name: str, params: Params) -> dict[str, Value]:
        own = {c.parameter: params[c.name] for c in self.choices if c.of == name and c.parameter and c.name in params}
        return {parameter: value for parameter, value in own.items() if value is not None}


def _gains(lossless: str, chosen: Value) -> bool:
    """Return whether a pass that changes no answer belongs in the recipes of a format."""
    if lossless == "pad_channels":
        return chosen == PADDED_FORMAT
    return chosen != TRAINED_FORMAT or lossless == "trim_kernels"


def _wanted(choice: Choice, by_name: Mapping[str, Pass]) -> Value:
    """Return the value that a recipe has at a choice."""
    if choice.name == FORMAT:
        return next((each for each in choice.values if each in by_name), FLOAT)
    if choice.name == BY_COST:
        return True if PRUNE in by_name and chooses_by_cost(by_name[PRUNE]) else None
    if choice.of not in by_name:
        return choice.off
    wanted: Value = by_name[choice.of].config().get(choice.parameter)
    return choice.off if choice.decides and wanted is None else wanted


def make_space(
    network: Network,
    *,
    budget: Budget,
    stages: tuple[str, ...] = ("torch", "onnx"),
    workload: Workload | None = None,
    max_epochs: int = 0,
    students: tuple[str, ...] = (),
    target: str = "cpu",
    quantity: str | None = "energy",
) -> Space:
    """Build the space for a network, as far as the installed passes support it.

    Args:
        network: kind of network.
        budget: budget of every recipe.
        stages: stages of the passes that can work on it: ``torch``, ``onnx``.
        workload: workload of every recipe; one sample in ONNX Runtime by default.
        max_epochs: maximum training epochs; 0 excludes training.
        students: names of architectures that may be trained instead of the original.
        target: name of the target, see :mod:`compress.core.targets`.
        quantity: target of a knapsack over measured costs: ``energy`` or ``latency``; anything else for none.
    """
    on_gpu = target.startswith("cuda")
    cost = quantity if quantity in COSTS and not on_gpu else None
    wanted = _choices(network, budget.max_loss_percent, max_epochs, students, on_gpu=on_gpu, cost=cost)
    choices = [supported for choice in wanted if (supported := _available(choice, stages)) is not None]
    useless = FOR_CPU if on_gpu else ()
    always = tuple(each for each in LOSSLESS[network] if each in passes.names() and each not in useless)
    return Space(tuple(choices), always, budget, workload or Workload())


def _choices(
    network: Network, loss: float, max_epochs: int, students: tuple[str, ...], on_gpu: bool, cost: str | None
) -> Iterator[Choice]:
    """Yield all choices, whether or not the installed passes have them."""
    if max_epochs:
        yield Choice("distill.epochs", tuple(e for e in EPOCHS if e <= max_epochs), off=0, decides=True)
        if students:
            yield Choice("distill.student", (None, *students), needs="distill")
    alone = ("distill.student",)
    if cost:
        yield Choice(BY_COST, (True, None), unless=alone)
        # Finer than multiply-adds: the loss rises steeply near the bound, and the losses of blocks are known by then.
        yield Choice(f"{PRUNE}.{cost}", (0.5, 0.96), 0.02, decides=True, given=BY_COST)
    counted = (*alone, BY_COST)
    yield Choice("depth_prune.macs", (0.6, 1.0), 0.1, off=1.0, decides=True, unless=counted)
    yield Choice(f"{PRUNE}.macs", (0.3, 1.0), 0.05, off=1.0, decides=True, unless=counted)
    yield Choice(f"{PRUNE}.scope", ("local", "global", "isomorphic"), needs=PRUNE, unless=(BY_COST,))
    yield Choice(f"{PRUNE}.importance", ("magnitude_l2", "taylor", "obs"), needs=PRUNE)
    # A knapsack measures losses of refitted blocks, and its networks are refitted unless they are trained.
    yield Choice(f"{PRUNE}.reconstruct", (True, False), needs=PRUNE, unless=(BY_COST,))
    if network == "transformer":
        yield Choice(f"{PRUNE}.attention", ("heads", "head_dims", "none"), needs=PRUNE)
        yield Choice("low_rank.energy", (0.8, 1.0), 0.05, off=1.0, decides=True, unless=alone)
    formats = ["quantize_static", FLOAT]
    formats += [TRAINED_FORMAT] if max_epochs else []
    formats += ["half"] if on_gpu else []
    formats += ["quantize_dynamic", "quantize_weights"] if network == "transformer" else []
    yield Choice(FORMAT, tuple(formats))
    yield Choice("qat.epochs", tuple(e for e in EPOCHS[1:] if e <= max_epochs), needs="qat")
    yield from _of_integers(network, loss)


def _of_integers(network: Network, loss: float) -> Iterator[Choice]:
    """Yield the choices of quantization after training."""
    static = "quantize_static"
    yield Choice(f"{static}.calibration", ("minmax", "mse", "entropy", "percentile"), needs=static)
    yield Choice(f"{static}.samples", (64, 256, 512), needs=static)
    yield Choice(f"{static}.operators", ("auto", "weights", "all"), needs=static)
    # Below the bound, because earlier pruning or a student uses a part of it.
    yield Choice(f"{static}.max_loss", (None, round(loss / 2, 4), round(loss / 4, 4)), needs=static)
    if network == "transformer":
        yield Choice(f"{static}.smooth", (0.0, 0.5, 0.75), needs=static)
    else:
        yield Choice(f"{static}.equalize", (None, True), needs=static)
    yield Choice("quantize_weights.bits", (4, 8), needs="quantize_weights")
    yield Choice("quantize_weights.rounding", ("gptq", "hqq"), needs="quantize_weights")
    yield Choice("quantize_weights.int8_activations", (False, True), needs="quantize_weights")
    if network == "transformer":
        yield Choice("quantize_embeddings.bits", (None, 8, 4), decides=True)


def _available(choice: Choice, stages: tuple[str, ...]) -> Choice | None:
    """Return the choice without values that the installed passes lack, or None if nothing is left to choose."""
    if choice.name == FORMAT:
        values = tuple(v for v in choice.values if v == FLOAT or _has(str(v), {}, stages))
        return replace(choice, values=values)
    if choice.name == BY_COST:
        return choice if _has(PRUNE, {COSTS[0]: 0.5}, stages) else None
    if choice.step is not None:
        # The value that switches a pass off need not be valid for it.
        inside = next(v for v in choice.values if v != choice.off)
        return choice if _has(choice.of, {choice.parameter: inside}, stages) else None
    values = tuple(
        v for v in choice.values if v in (None, choice.off) or _has(choice.of, {choice.parameter: v}, stages)
    )
    return replace(choice, values=values) if len(values) > 1 or choice.decides else None


def _has(name: str, parameters: Mapping[str, Value], stages: tuple[str, ...]) -> bool:
    if name not in passes.names() or (kind := passes.find(name)).stage not in stages:
        return False
    if not set(parameters) <= set(kind.model_fields):
        return False
    try:
        kind.model_validate(dict(parameters))
    except ValidationError:
        return False
    return True
