"""The space: which choices arise, what recipes they make, and which shipped recipes lie in it."""

from __future__ import annotations

import random

import pytest

from compress.core.targets import TARGETS
from compress.job import recipe as recipes
from compress.job.recipe import Budget
from compress.search.choice import Choice
from compress.search.space import BY_COST, FORMAT, _available, make_space
from compress.search.steps import StepCache
from compress.search.study import starting_points

BUDGET = Budget(max_loss_percent=1.0)


class Dice:
    """Draws by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def suggest_categorical(self, name, choices):
        return self._random.choice(choices)

    def suggest_float(self, name, low, high, *, step):
        return low + step * self._random.randint(0, round((high - low) / step))


def space_of(network="convolutional", **changed):
    return make_space(network, budget=BUDGET, **changed)


@pytest.mark.parametrize("network", ["convolutional", "transformer"])
@pytest.mark.parametrize("seed", range(40))
def test_every_point_makes_a_recipe_that_reads_back(network, seed):
    space = space_of(network, max_epochs=8, students=("resnet18",))
    params = space.suggest(Dice(seed))
    recipe = space.recipe(params)
    assert recipes.load(recipe.to_json()) == recipe
    assert space.point(recipe) == params
    assert recipe.budget == BUDGET


def test_nothing_trains_when_no_epochs_are_allowed():
    space = space_of(max_epochs=0)
    assert not {"distill", "qat"} & {choice.of for choice in space.choices}
    assert "qat" not in next(choice.values for choice in space.choices if choice.name == FORMAT)


def test_widths_are_not_chosen_when_a_student_replaces_the_model():
    space = space_of(max_epochs=2, students=("resnet18",))
    recipe = space.recipe({"distill.epochs": 2, "distill.student": "resnet18", FORMAT: "float"})
    assert [each.name for each in recipe.passes] == ["distill", "trim_kernels", "space_to_depth"]
    params = {"distill.epochs": 2, "distill.student": "resnet18"}
    widths = next(choice for choice in space.choices if choice.name == "structured_prune.macs")
    assert not space._arises(widths, params)
    assert space._arises(widths, {"distill.epochs": 2, "distill.student": None})


@pytest.mark.parametrize("quantity", ["energy", "latency"])
def test_knapsack_takes_the_place_of_multiply_adds_when_widths_follow_measured_costs(quantity):
    space = space_of(quantity=quantity)
    params = {BY_COST: True, f"structured_prune.{quantity}": 0.8, "structured_prune.importance": "obs", FORMAT: "float"}
    recipe = space.recipe(params)
    assert [each.name for each in recipe.passes] == ["structured_prune", "trim_kernels", "space_to_depth"]
    assert dict(recipe.passes[0].goals) == {quantity: 0.8}
    arising = {choice.name for choice in space.choices if space._arises(choice, params)}
    assert not {"depth_prune.macs", "structured_prune.macs", "structured_prune.scope"} & arising
    assert f"structured_prune.{quantity}" in arising
    counted = {choice.name for choice in space.choices if space._arises(choice, {BY_COST: None})}
    assert {"depth_prune.macs", "structured_prune.macs"} <= counted and f"structured_prune.{quantity}" not in counted


@pytest.mark.parametrize(
    "changed", [{"quantity": "bytes"}, {"target": "cuda"}, {"stages": ("onnx",)}], ids=["bytes", "GPU", "file"]
)
def test_no_measured_cost_is_a_target_when_blocks_cannot_be_measured_for_it(changed):
    assert not {BY_COST, "structured_prune.energy"} & {choice.name for choice in space_of(**changed).choices}


def test_step_is_not_shared_by_files_of_other_forms_when_it_measured_costs(tmp_path):
    space, cache = space_of(), StepCache(tmp_path, {}, TARGETS["cpu-vnni"])
    by_cost = {BY_COST: True, "structured_prune.energy": 0.8}
    for params, apart in ((by_cost, True), ({"structured_prune.macs": 0.8}, False)):
        floats, integers, others = (
            cache.digest(space.recipe({**params, **form}), "0-structured_prune")
            for form in (
                {FORMAT: "float"},
                {FORMAT: "quantize_static", "quantize_static.calibration": "mse"},
                {FORMAT: "quantize_static", "quantize_static.calibration": "minmax"},
            )
        )
        assert (floats != integers) is apart
        assert integers == others


def test_choice_is_left_out_when_no_installed_pass_has_it():
    everything = ("torch", "onnx")
    assert _available(Choice("nothing.macs", (0.5, 1.0), 0.1, off=1.0, decides=True), everything) is None
    assert _available(Choice("structured_prune.colour", ("red", "blue")), everything) is None
    kept = _available(Choice("structured_prune.scope", ("local", "sideways", "global")), everything)
    assert kept.values == ("local", "global")
    assert _available(Choice("structured_prune.scope", ("local", "sideways")), everything) is None


def test_shipped_recipes_are_in_the_space_when_it_has_their_values():
    space = space_of()
    made = [space.recipe(point) for point in starting_points(space)]
    int8 = recipes.load("int8")
    assert [each.config() for each in int8.passes] in [[each.config() for each in one.passes] for one in made]


def test_recipe_for_transformers_comes_first_when_the_network_is_one():
    space = space_of("transformer")
    names = [[each.name for each in space.recipe(point).passes] for point in starting_points(space)]
    assert [each.name for each in recipes.load("transformer").passes] in names
    gpu = space_of("transformer", target="cuda")
    assert "fast_kernels" not in gpu.always


@pytest.mark.parametrize(
    ("quantity", "goal", "refitted"),
    [("energy", "energy", "auto"), ("latency", "latency", "auto"), (None, "macs", True)],
)
def test_search_begins_with_refitted_narrow_integers_after_the_shipped_recipes(quantity, goal, refitted):
    space = space_of(quantity=quantity)
    begun = [space.recipe(point) for point in starting_points(space)][1:]
    shares = (0.9, 0.86, 0.8) if quantity else (0.9, 0.85, 0.8)
    assert [dict(each.passes[0].goals) for each in begun] == [{goal: share} for share in shares]
    assert {each.passes[0].reconstruct for each in begun} == {refitted}
    assert {each.passes[-1].name for each in begun} == {"quantize_static"}
    trained = space_of(quantity=quantity, max_epochs=4, students=("resnet18",))
    left_open = {choice.name for choice in trained.choices if choice.decides} - set(next(trained.likely()))
    assert {name.partition(".")[0] for name in left_open} <= {"structured_prune"}
    assert not list(space_of(quantity=None, stages=("onnx",)).likely())


@pytest.mark.parametrize(("network", "recipe"), [("convolutional", "int8"), ("transformer", "transformer")])
@pytest.mark.parametrize("epochs", [0, 8])
def test_first_narrow_networks_are_made_as_the_shipped_recipe_makes_whole_ones(network, recipe, epochs):
    space = space_of(network, quantity="energy" if epochs else None, max_epochs=epochs)
    shipped = space.recipe(space.point(recipes.load(recipe)))
    points = [point for name in ("balanced", recipe) if (point := space.point(recipes.load(name))) is not None]
    begun = [space.recipe(point) for point in space.likely(points)]
    assert len(begun) == 3
    for each in begun:
        assert [one.name for one in each.passes] == ["structured_prune", *(one.name for one in shipped.passes)]
        assert [one.config() for one in each.passes[1:]] == [one.config() for one in shipped.passes]


def test_shipped_recipes_that_train_also_come_first_when_training_is_allowed():
    space = space_of(max_epochs=8)
    names = [[each.name for each in space.recipe(point).passes] for point in starting_points(space)]
    assert ["structured_prune", "distill", "trim_kernels", "space_to_depth", "pad_channels", "quantize_static"] in names


def test_digest_differs_when_a_choice_differs():
    assert space_of().digest() == space_of().digest()
    assert space_of().digest() != space_of(max_epochs=2).digest()
    assert space_of().digest() != make_space("convolutional", budget=Budget(max_loss_percent=2.0)).digest()


def test_nearest_value_is_used_when_the_wanted_one_is_missing():
    steps = Choice("structured_prune.macs", (0.3, 1.0), 0.05, off=1.0)
    assert steps.nearest(0.42) == 0.4
    assert steps.nearest(0.1) == 0.3
    numbers = Choice("quantize_static.samples", (64, 256, 512))
    assert numbers.nearest(300) == 256
    assert Choice("x.y", (None, True)).nearest("odd") is None
