from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.errors import UsageError
from certify.data import Preprocess

GOOD = """\
# EfficientNet-Lite0
input_name: images
output_name: Softmax
height: 224
width: 224
layout: NHWC
colour: RGB
scale: 1
mean: [127, 127, 127]
std: [128, 128, 128]
resize: 256
crop: center
interpolation: bicubic
reading: probabilities
class_map: [0, 217]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "contract.yaml"
    path.write_text(text)
    return path


def test_yaml_sets_every_field_when_valid(tmp_path: Path) -> None:
    contract = Preprocess.from_yaml(written(tmp_path, GOOD))
    assert contract.input_name == "images"
    assert (contract.height, contract.width, contract.layout) == (224, 224, "NHWC")
    assert contract.mean == (127.0, 127.0, 127.0)
    assert isinstance(contract.scale, float)
    assert (contract.resize, contract.crop, contract.interpolation) == (256, "center", "bicubic")
    assert contract.class_map == (0, 217)
    assert contract.dtype == "float32"
    assert Preprocess.from_json(contract.to_json()) == contract


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("height:", "hight:", "line 4: Unknown key of the contract 'hight'; did you mean 'height'"),
        ("colour:", "color:", "line 7: Unknown key of the contract 'color'; did you mean 'colour'"),
        ("reading: probabilities\n", "", "the contract lacks the key 'reading'"),
        ("width: 224\n", "width: 224\nwidth: 225\n", "line 6: duplicate key 'width'"),
        ("layout: NHWC", "layout: NWHC", "line 6: layout of the contract must be 'NCHW' or 'NHWC', got 'NWHC'"),
        ("layout: NHWC", "layout: [NHWC]", r"layout of the contract must be .*, got \['NHWC'\]"),
        ("height: 224", "height: 224.5", "line 4: height of the contract must be a valid integer, got 224.5"),
        ("height: 224", "height: 0", "height of the contract must be greater than or equal to 1, got 0"),
        ("height: 224", "height: true", "height of the contract must be a valid integer, got True"),
        ("height: 224", "height: 99999", "height of the contract must be less than or equal to 8192, got 99999"),
        ("scale: 1", "scale: 0", "scale of the contract must be greater than 0, got 0"),
        ("scale: 1", "scale: .nan", "line 8: scale must be a finite number, got .nan"),
        ("scale: 1", "scale: '1'", "scale of the contract must be a valid number, got '1'"),
        ("scale: 1", f"scale: 0x{'f' * 300}", "line 8: scale must be an integer in"),
        ("scale: 1", f"scale: 0x{'f' * 6000}", "line 8: scale must be an integer in"),
        ("mean: [127, 127, 127]", f"mean: [127, 0x{'f' * 6000}, 127]", "line 9: mean.1 must be an integer"),
        ("layout: NHWC", f"layout: 0x{'f' * 6000}", "layout must be an integer in"),
        ("resize: 256", f"kind: 0x{'f' * 6000}", "kind must be an integer in"),
        ("resize: 256", "kind: [image]", "line 11: Unknown kind of contract"),
        ("mean: [127, 127, 127]", "mean: [127]", "line 9: mean has 1 value, but colour RGB has 3 channels;"),
        ("mean: [127, 127, 127]", "mean: 127", "mean of the contract must be a list, got 127"),
        (
            "mean: [127, 127, 127]",
            "mean: [127, [1], 127]",
            r"mean.1 of the contract must be a valid number, got \[1\]",
        ),
        ("mean: [127, 127, 127]", "mean: {a: 1}", "mean of the contract must be a list, got {'a': 1}"),
        (
            "std: [128, 128, 128]",
            "std: [128, 0, 128]",
            "line 10: std.1 of the contract must be greater than 0, got 0",
        ),
        ("resize: 256", "resize: big", "resize of the contract must be a valid integer or 'exact', got 'big'"),
        ("resize: 256", "resize: false", "resize of the contract must be a valid integer or 'exact', got False"),
        (
            "class_map: [0, 217]",
            "class_map: [0, 0]",
            r"line 15: class_map must hold distinct output columns, got \[0, 0\]",
        ),
        (
            "class_map: [0, 217]",
            "class_map: [0]",
            r"class_map of the contract: list should have at least 2 items, not 1, got \[0\]",
        ),
        (
            "class_map: [0, 217]",
            "class_map: [0, -1]",
            "class_map.1 of the contract must be greater than or equal to 0, got -1",
        ),
        (
            "input_name: images",
            "input_name:",
            "line 2: input_name of the contract must be a valid string, got None",
        ),
        ("input_name: images", "input_name: ''", "at least 1 character"),
        ("input_name: images", "input_name: &a images", "line 2: anchors and aliases are not allowed"),
        ("scale: 1", "scale: 1e400", "line 8: scale must be a finite number"),
        ("input_name: images", "input_name: !!python/object:os.system {}", "line 2: tags such as"),
        ("input_name: images", "input_name: !!python/name:os.system ''", "line 2: tags such as"),
        ("input_name: images", "input_name: [", "line 4: not valid YAML"),
        (
            "height: 224",
            "height: 2020-99-99",
            "line 4: height must be quoted text, a number, .*, got 2020-99-99",
        ),
    ],
)
def test_yaml_is_refused_with_file_and_reason_when_a_line_is_wrong(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert old in GOOD
    with pytest.raises(UsageError, match=words) as caught:
        Preprocess.from_yaml(written(tmp_path, GOOD.replace(old, new)))
    assert "contract.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text", "[" * 5000, "a: &x [1]\nb: *y\n", "\x00"])
def test_yaml_is_refused_when_it_is_not_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="contract.yaml"):
        Preprocess.from_yaml(written(tmp_path, text))


def test_yaml_is_refused_when_the_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none.yaml cannot be read"):
        Preprocess.from_yaml(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        Preprocess.from_yaml(tmp_path)
    with pytest.raises(UsageError, match="larger than"):
        Preprocess.from_yaml(written(tmp_path, GOOD + "#" * (1 << 20)))


def test_fields_say_what_was_found_when_built_in_python(tmp_path: Path) -> None:
    contract = Preprocess.from_yaml(written(tmp_path, GOOD))
    with pytest.raises(
        UsageError, match="preprocessing contract: crop of the contract must be 'center' or 'none', got 'middle'"
    ):
        dataclasses.replace(contract, crop="middle")
    for wrong in ({"scale": float("nan")}, {"mean": (float("inf"),) * 3}, {"height": True}, {"width": object()}):
        with pytest.raises(UsageError, match="preprocessing contract: "):
            dataclasses.replace(contract, **wrong)
    with pytest.raises(UsageError, match="'colur'; did you mean 'colour'"):
        Preprocess.from_json({**contract.to_json(), "colur": "RGB"})


def test_fields_are_plain_numbers_when_built_from_numpy_scalars(tmp_path: Path) -> None:
    contract = Preprocess.from_yaml(written(tmp_path, GOOD))
    numbers = {"height": np.int64(8), "scale": np.float32(2), "class_map": tuple(np.arange(2))}
    assert type(dataclasses.replace(contract, **numbers).height) is int
    assert dataclasses.replace(contract, **numbers).to_json() == {
        **contract.to_json(), "height": 8, "scale": 2.0, "class_map": [0, 1]
    }  # fmt: skip


@given(st.binary(max_size=200))
def test_yaml_is_refused_in_one_sentence_when_it_is_noise(noise: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.yaml"
        path.write_bytes(noise)
        with pytest.raises(UsageError) as caught:
            Preprocess.from_yaml(path)
        assert "\n" not in str(caught.value)
