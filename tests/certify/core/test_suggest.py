from __future__ import annotations

import pytest

from certify.core.suggest import unknown_name


def test_nearest_name_is_suggested_when_there_is_one() -> None:
    error = unknown_name("model", "ResNet51", ["resnet50", "vgg16"], "See leanmark models.")
    assert str(error) == "Unknown model 'ResNet51'; did you mean 'resnet50'? See leanmark models."
    assert error.exit_code == 2


def test_all_names_are_listed_when_none_is_near_and_they_are_few() -> None:
    assert str(unknown_name("recipe", "zzz", ["prune", "int8"])) == "Unknown recipe 'zzz'; known: int8, prune."
    assert str(unknown_name("model", "zzz", [f"net{i}" for i in range(50)])) == "Unknown model 'zzz'."


@pytest.mark.parametrize(
    ("asked", "known", "meant"),
    [
        ("benchmark", ["compare", "profile"], "profile"),
        ("config", ["countersign", "init"], "init"),
        ("ratio", ["max_ratio", "macs"], "macs"),
        ("Quantize", ["quantize_dynamic", "quantize_static"], "quantize_static"),
        ("prune", ["depth_prune", "structured_prune"], "structured_prune"),
    ],
)
def test_meaning_is_suggested_before_spelling_when_other_tools_use_the_word(asked, known, meant) -> None:
    assert f"did you mean '{meant}'?" in str(unknown_name("name", asked, known))


@pytest.mark.parametrize(
    ("asked", "other"), [("data", "gate"), ("leafnet.pth", "alexnet"), ("quantize", "tokenize"), ("prune", "profile")]
)
def test_word_is_not_suggested_when_it_only_shares_letters(asked, other) -> None:
    assert "did you mean" not in str(unknown_name("command", asked, [other]))
