"""Recipes: shipped ones, and every way of writing one wrongly."""

from __future__ import annotations

import pytest

from certify.core.errors import UsageError
from compress.job import recipe

MINIMAL = "passes:\n  - quantize_static\n"


def test_shipped_recipes_load_when_named():
    assert set(recipe.names()) == {
        "aggressive",
        "balanced",
        "cifar-resnet20",
        "cifar-resnet56",
        "int8",
        "prune",
        "qat",
        "transformer",
    }
    for name in recipe.names():
        loaded = recipe.load(name)
        assert loaded.name == name
        assert loaded.description
        assert loaded.passes


def test_balanced_prunes_to_half_then_distils_then_quantizes():
    loaded = recipe.load("balanced").passes
    names = ("structured_prune", "distill", "trim_kernels", "space_to_depth", "quantize_static")
    assert tuple(each.name for each in loaded) == names
    prune = loaded[0]
    assert prune.macs == 0.5


def test_recipe_loads_when_given_as_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    assert recipe.load(path) == recipe.load(str(path))
    assert recipe.load(path).name == "mine"


def test_digest_differs_when_a_parameter_differs():
    texts = ("passes:\n  - quantize_static: {samples: 8}\n", "passes:\n  - quantize_static: {samples: 9}\n")
    first, second = (recipe.parse(text, "r.yaml") for text in texts)
    assert first.digest() != second.digest()
    assert first.digest() == recipe.parse(texts[0], "elsewhere.yaml").digest()


def test_number_is_read_when_written_with_an_exponent():
    (distill,) = recipe.parse("passes:\n  - distill: {lr: 1e-4}\n", "r.yaml").passes
    assert distill.lr == 1e-4


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("pases: []\n", 1, "did you mean 'passes'"),
        ("passes:\n  - structured_prun\n", 2, "did you mean 'structured_prune'"),
        ("passes:\n  - structured_prune:\n      mac: 0.5\n", 3, "did you mean 'macs'"),
        ("passes:\n  - structured_prune:\n      macs: 1.5\n", 3, "less than 1"),
        ("passes:\n  - structured_prune:\n      macs: high\n", 3, "number"),
        ("passes:\n  - distill: {epochs: true}\n", 2, "integer"),
        ("passes:\n  - distill: {epochs: 2, epochs: 3}\n", 2, "twice"),
        ("passes:\n  - distill: {lr: {a: 1}}\n", 2, "lr of distill should be a valid number, found {'a': 1}"),
        ("passes:\n  - [distill]\n", 2, "each pass is a name"),
        ("passes:\n  - distill\n    prune\n", 2, "Unknown pass"),
        ("passes: []\n", 1, "at least 1 item"),
        ("passes:\n  - quantize_static\n  - distill\n", 3, "put it before"),
        ("budget:\n  max_loss_percent: -1\npasses: [distill]\n", 2, "greater than or equal to 0"),
        ("budget:\n  max_los: 1\npasses: [distill]\n", 2, "did you mean 'max_loss_percent'"),
        ("workload: 3\npasses: [distill]\n", 1, "should be a mapping"),
        ("- distill\n", 1, "should be a mapping"),
        ("passes:\n  - &a distill\n  - *a\n", 2, "anchors and aliases"),
        ("name: !!python/name:os.system x\n", 1, "tags such as"),
        ("passes: [\n", 2, "not valid YAML"),
        ("a: [[[[[[[[[[[[[[[[[[[[", 1, "nested deeper"),
    ],
)
def test_recipe_is_refused_with_file_and_line_when_malformed(text, line, words):
    with pytest.raises(UsageError) as error:
        recipe.parse(text, "r.yaml")
    assert str(error.value).startswith(f"r.yaml, line {line}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "name: x\n", "\x00"])
def test_recipe_is_refused_when_it_has_no_passes(text):
    with pytest.raises(UsageError, match="r.yaml"):
        recipe.parse(text, "r.yaml")


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'balanced'"):
        recipe.load("balancd")


def test_recipe_file_is_refused_when_missing_or_large(tmp_path):
    with pytest.raises(UsageError, match="can't be read"):
        recipe.load(tmp_path / "absent.yaml")
    large = tmp_path / "large.yaml"
    large.write_text("#" * (recipe.MAX_BYTES + 1))
    with pytest.raises(UsageError, match="larger than 64 KiB"):
        recipe.load(large)


def test_no_torch_pass_can_follow_training_with_rounding():
    with pytest.raises(UsageError, match="line 3: structured_prune can't work on what qat leaves; put it before"):
        recipe.parse("passes:\n  - qat\n  - structured_prune\n", "r.yaml")
