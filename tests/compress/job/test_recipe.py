"""Recipes: shipped ones, and every way of writing one wrongly."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from certify.core.errors import UsageError
from compress.cli import recipes as command
from compress.job import recipe
from compress.passes.finetune import Finetune

MINIMAL = "passes:\n  - quantize_static\n"


def test_shipped_recipes_load_when_named():
    assert set(recipe.names()) == {
        "aggressive",
        "balanced",
        "federated",
        "int8",
        "pate",
        "private",
        "private-head",
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
    names = ("structured_prune", "distill", "trim_kernels", "space_to_depth", "pad_channels", "quantize_static")
    assert tuple(each.name for each in loaded) == names
    prune = loaded[0]
    assert prune.macs == 0.5


@pytest.mark.parametrize("name", ["balanced", "prune"])
def test_pruned_layers_are_refitted_before_training(name):
    assert recipe.load(name).passes[0].reconstruct is True


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
        ("passes:\n  - distill: {epochs: 2, epochs: 3}\n", 2, "duplicate key"),
        ("passes:\n  - distill: {lr: {a: 1}}\n", 2, "lr of distill must be a valid number, got {'a': 1}"),
        ("passes:\n  - [distill]\n", 2, "each pass must be a name"),
        ("passes:\n  - distill\n    prune\n", 2, "Unknown pass"),
        ("passes: []\n", 1, "at least 1 item"),
        ("passes:\n  - quantize_static\n  - distill\n", 3, "move it up"),
        ("budget:\n  max_loss_percent: -1\npasses: [distill]\n", 2, "greater than or equal to 0"),
        ("budget:\n  max_los: 1\npasses: [distill]\n", 2, "did you mean 'max_loss_percent'"),
        ("workload: 3\npasses: [distill]\n", 1, "mapping"),
        ("- distill\n", 1, "mapping"),
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
    with pytest.raises(UsageError, match="cannot be read"):
        recipe.load(tmp_path / "absent.yaml")
    large = tmp_path / "large.yaml"
    large.write_text("#" * (recipe.MAX_BYTES + 1))
    with pytest.raises(UsageError, match="larger than 64 KiB"):
        recipe.load(large)


def test_torch_pass_is_refused_after_training_with_rounding():
    with pytest.raises(UsageError, match="line 3: structured_prune cannot work on the result of qat; move it up"):
        recipe.parse("passes:\n  - qat\n  - structured_prune\n", "r.yaml")


def test_value_is_set_and_recorded_when_a_setting_names_it():
    changed = recipe.load("balanced", ["structured_prune.macs=0.4", "budget.max_loss_percent=1"])
    assert (changed.passes[0].macs, changed.budget.max_loss_percent) == (0.4, 1.0)
    assert changed.passes[1:] == recipe.load("balanced").passes[1:]
    assert changed.settings == ("structured_prune.macs=0.4", "budget.max_loss_percent=1")
    assert recipe.load(recipe.load("balanced"), ["distill.epochs=2"]).passes[1].epochs == 2
    listed = recipe.load("prune", ["structured_prune.keep_layers=[conv1]", "structured_prune[1].macs=0.3"])
    assert (listed.passes[0].keep_layers, listed.passes[0].macs) == (("conv1",), 0.3)


def test_setting_tells_passes_of_one_name_apart_when_they_are_numbered():
    changed = recipe.load("aggressive", ["structured_prune[2].macs=0.2"])
    assert [each.macs for each in changed.passes if each.name == "structured_prune"] == [0.5, 0.2]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("structured_prune.macs=1.5", "macs of structured_prune must be less than 1, got 1.5."),
        ("structured_prune.mac=0.4", "Unknown key of structured_prune 'mac'; did you mean 'macs'?"),
        ("structured_prune.ratio=0.4", "did you mean 'macs'?"),
        ("structured_prun.macs=0.4", "Unknown pass of this recipe 'structured_prun'; did you mean 'structured_prune'?"),
        ("distill.epochs=two", "epochs of distill must be a valid integer, got 'two'."),
        ("distill.epochs=[", "not valid YAML"),
        ("distill[2].epochs=1", "the recipe has distill 1 times; write distill[1]."),
        ("macs=0.4", "write PASS.PARAMETER=VALUE"),
        ("structured_prune.macs", "write PASS.PARAMETER=VALUE"),
        ("budget.max_los=1", "did you mean 'max_loss_percent'?"),
    ],
)
def test_setting_is_refused_with_its_text_when_invalid(setting, words):
    with pytest.raises(UsageError) as error:
        recipe.load("balanced", [setting])
    assert str(error.value).startswith(f"--set {setting}")
    assert words in str(error.value)


def test_setting_is_refused_when_two_passes_share_the_name():
    with pytest.raises(UsageError, match=r"write structured_prune\[1\] or structured_prune\[2\]"):
        recipe.load("aggressive", ["structured_prune.macs=0.2"])


def test_recipe_inherits_unset_values_when_it_extends_another(tmp_path):
    (tmp_path / "lean.yaml").write_text(
        "extends: balanced\nbudget: {max_loss_percent: 1}\nset:\n  structured_prune.macs: 0.3\n"
    )
    lean = recipe.load(tmp_path / "lean.yaml")
    balanced = recipe.load("balanced")
    assert (lean.name, lean.extends, lean.settings) == ("lean", ("balanced",), ("structured_prune.macs=0.3",))
    assert (lean.budget.max_loss_percent, lean.budget.confidence) == (1.0, balanced.budget.confidence)
    assert lean.passes[0].macs == 0.3
    assert lean.passes[1:] == balanced.passes[1:]
    (tmp_path / "leaner.yaml").write_text("extends: lean.yaml\npasses: [half]\n")
    leaner = recipe.load(tmp_path / "leaner.yaml")
    assert leaner.extends == ("lean.yaml", "balanced")
    assert [each.name for each in leaner.passes] == ["half"]
    assert leaner.budget == lean.budget


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: balancd\n", "line 1: Unknown recipe 'balancd'; did you mean 'balanced'?"),
        ("extends: mine.yaml\n", "extends itself"),
        ("extends: [int8]\n", "line 1: extends must be the name of one recipe"),
        ("extends: int8\nset: 3\n", "line 2: set must be a mapping"),
        ("extends: int8\nset:\n  quantize_static.samples: 0\n", "line 3: samples of quantize_static must be greater"),
        ("extend: int8\npasses: [half]\n", "did you mean 'extends'"),
    ],
)
def test_extending_recipe_is_refused_with_file_and_line_when_malformed(tmp_path, text, words):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError) as error:
        recipe.load(tmp_path / "mine.yaml")
    assert str(error.value).startswith(str(tmp_path / "mine.yaml"))
    assert words in str(error.value)


def test_dict_and_list_are_recipes_when_given_in_python():
    made = recipe.load({"passes": [{"distill": {"epochs": 2}}, "quantize_static"]})
    assert made == recipe.load([{"distill": {"epochs": 2}}, "quantize_static"])
    assert recipe.load([Finetune(epochs=3), "half"]).passes[0] == Finetune(epochs=3)
    assert recipe.load({"extends": "int8", "set": {"quantize_static.samples": 8}}).passes[-1].samples == 8


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pases": ["half"]}, "did you mean 'passes'"),
        ({"passes": [{"distill": {"epochs": "2"}}]}, "epochs of distill must be a valid integer"),
        ([], "at least 1 item"),
        ([3], "each pass must be a name"),
        ([object()], "contains a value that JSON cannot represent"),
        ({"passes": "half"}, "must be a list"),
        (3, "A recipe must be a name, the path of a YAML file, a dict, a list of passes or a Recipe, got int."),
    ],
)
def test_recipe_is_refused_with_one_sentence_when_python_values_are_wrong(given, words):
    with pytest.raises(UsageError) as error:
        recipe.load(given)
    assert words in str(error.value)
    assert "pydantic" not in str(error.value)


@pytest.mark.parametrize("name", recipe.names())
def test_printed_recipe_reads_back_the_same(name, tmp_path):
    printed = CliRunner().invoke(command.command, [name, "--json"], catch_exceptions=False).output
    (tmp_path / "again.json").write_text(printed)
    assert recipe.load(tmp_path / "again.json") == recipe.load(name)
    assert recipe.load(json.loads(printed)).digest() == recipe.load(name).digest()


def test_passes_are_printed_when_they_have_no_parameters():
    shown = CliRunner().invoke(command.command, ["balanced"], catch_exceptions=False).output
    assert [line.rstrip() for line in shown.splitlines() if line[1:3] == ". "] == [
        "1. structured_prune", "2. distill", "3. trim_kernels: no parameters", "4. space_to_depth: no parameters",
        "5. pad_channels: no parameters", "6. quantize_static",
    ]  # fmt: skip


def test_shipped_recipes_name_no_code_missing_from_the_wheel():
    for name in recipe.names():
        assert "tests." not in json.dumps(recipe.load(name).to_json())
