from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certify.core.errors import DataError, UsageError
from certify.data import Dataset, array_split, load

MODULE = """
import numpy as np
from certify.data import Dataset, array_split

rng = np.random.default_rng(0)
x, y = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), np.arange(60) % 3

def arrays():
    return {"x": x, "y": y, "classes": ["a", "b", "c"]}

def whole():
    return Dataset("mine", "anything", ("a", "b", "c"), None, None, None, array_split(x, y, "here"), (32, 32))

def nothing():
    return None

number = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "leanmark_toy_data.py").write_text(MODULE)
    (tmp_path / "leanmark_toy_broken.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield tmp_path
    assert sys.path == before
    for name in ("leanmark_toy_data", "leanmark_toy_broken"):
        sys.modules.pop(name, None)


def toy() -> dict[str, Any]:
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    return {"x": x, "y": np.arange(60) % 3}


def test_function_is_called_when_it_is_in_the_working_folder(here: Path) -> None:
    data = load("leanmark_toy_data:arrays")
    assert (data.name, data.spec, data.classes) == ("arrays", "leanmark_toy_data:arrays", ("a", "b", "c"))
    assert len(data.test) == 18


def test_dataset_returned_by_a_function_is_kept_except_for_its_spec(here: Path) -> None:
    data = load("leanmark_toy_data:whole")
    assert (data.name, data.spec, len(data.test)) == ("mine", "leanmark_toy_data:whole", 60)


def test_callable_and_dataset_are_taken_when_given_directly() -> None:
    data = load(toy)
    assert data.spec.endswith(":toy")
    assert load(data) is data
    split = array_split(toy()["x"], toy()["y"], "here")
    same = Dataset("d", "d", ("a", "b", "c"), None, None, None, split, (32, 32))
    assert load(lambda: same).test is split


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mnist5", "did you mean 'mnist5k'"),
        ("cifar-10", "did you mean 'cifar10'"),
        ("fashion_mnist", "did you mean 'fashion-mnist'"),
        ("imagenete", "did you mean 'imagenette'"),
        ("imagefoldr:/tmp/x", "did you mean 'imagefolder:PATH'"),
        ("npx:PATH.npz", "did you mean 'npz:PATH'"),
        ("", "Unknown data ''"),
        ("fotos", "Unknown data 'fotos'.*The folder 'fotos' does not exist"),
        ("leanmark_no_such_package.data:function", "Unknown data 'leanmark_no_such_package"),
        ("imagefolder:", "have no path; write imagefolder:PATH"),
        ("npz:", "have no path; write npz:PATH"),
        ("imagefolder", "have no path"),
    ],
)
def test_spec_is_refused_with_the_nearest_when_it_is_unknown(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        load(spec)
    assert caught.value.exit_code == 2


def test_spec_is_refused_with_a_hint_when_it_is_a_bare_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no class"):
        load(str(tmp_path))
    with pytest.raises(UsageError, match="write npz:data.npz or arrays:data.npz"):
        load("data.npz")


def test_function_is_refused_with_the_nearest_when_the_module_lacks_it(here: Path) -> None:
    with pytest.raises(UsageError, match="'arays'; did you mean 'arrays'"):
        load("leanmark_toy_data:arays")
    with pytest.raises(UsageError, match="Unknown function"):
        load("leanmark_toy_data:number")


def test_function_is_refused_when_its_module_cannot_be_imported(here: Path) -> None:
    with pytest.raises(UsageError, match="module 'a_package_that_is_not_there' is neither installed"):
        load("leanmark_toy_broken:function")
    with pytest.raises(UsageError, match="module 'leanmark_toy_data.deeper' is neither installed"):
        load("leanmark_toy_data.deeper:function")


def test_function_is_refused_when_it_returns_something_else(here: Path) -> None:
    with pytest.raises(DataError, match="is a NoneType; give a torch Dataset"):
        load("leanmark_toy_data:nothing")
