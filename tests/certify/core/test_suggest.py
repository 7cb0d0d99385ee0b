from __future__ import annotations

from certify.core.suggest import unknown_name


def test_nearest_name_is_offered_when_there_is_one() -> None:
    error = unknown_name("model", "ResNet51", ["resnet50", "vgg16"], "See leanmark models.")
    assert str(error) == "Unknown model 'ResNet51'; did you mean 'resnet50'? See leanmark models."
    assert error.exit_code == 2


def test_all_names_are_listed_when_none_is_near_and_they_are_few() -> None:
    assert str(unknown_name("recipe", "zzz", ["prune", "int8"])) == "Unknown recipe 'zzz'; known: int8, prune."
    assert str(unknown_name("model", "zzz", [f"net{i}" for i in range(50)])) == "Unknown model 'zzz'."
