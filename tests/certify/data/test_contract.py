from __future__ import annotations

import dataclasses
from pathlib import Path

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


def test_yaml_gives_every_field_when_it_is_good(tmp_path: Path) -> None:
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
        ("height:", "hight:", r"line 4: 'hight'; did you mean 'height'"),
        ("colour:", "color:", r"line 7: 'color'; did you mean 'colour'"),
        ("reading: probabilities\n", "", "lacks reading;"),
        ("width: 224\n", "width: 224\nwidth: 225\n", "line 6: key 'width' stands there twice"),
        ("layout: NHWC", "layout: NWHC", "line 6: layout should be one of NCHW, NHWC, found 'NWHC'"),
        ("layout: NHWC", "layout: [NHWC]", "layout should be one of"),
        ("height: 224", "height: 224.5", "height should be a number of pixels"),
        ("height: 224", "height: 0", "height should be a number of pixels"),
        ("height: 224", "height: true", "height should be a number of pixels"),
        ("height: 224", "height: 99999", "height should be a number of pixels"),
        ("scale: 1", "scale: 0", "scale should be a number above 0"),
        ("scale: 1", "scale: .nan", "scale should be a number above 0"),
        ("scale: 1", "scale: '1'", "scale should be a number above 0"),
        ("scale: 1", f"scale: 0x{'f' * 300}", "scale should be a number above 0"),
        ("scale: 1", f"scale: 0x{'f' * 6000}", "found a number of thousands of digits"),
        ("mean: [127, 127, 127]", f"mean: [127, 0x{'f' * 6000}, 127]", "found a number of thousands of digits"),
        ("layout: NHWC", f"layout: 0x{'f' * 6000}", "found a number of thousands of digits"),
        ("resize: 256", f"kind: 0x{'f' * 6000}", "kind should be a name"),
        ("resize: 256", "kind: [image]", "kind should be a name"),
        ("mean: [127, 127, 127]", "mean: [127]", "line 9: mean has 1 values and colour RGB has 3"),
        ("mean: [127, 127, 127]", "mean: 127", "mean should be a list of numbers"),
        ("mean: [127, 127, 127]", "mean: [127, [1], 127]", "found something nested"),
        ("mean: [127, 127, 127]", "mean: {a: 1}", "found something nested"),
        ("std: [128, 128, 128]", "std: [128, 0, 128]", "std should be a list of numbers above 0"),
        ("resize: 256", "resize: big", "resize should be 'exact', null"),
        ("resize: 256", "resize: false", "resize should be 'exact', null"),
        ("class_map: [0, 217]", "class_map: [0, 0]", "two different output columns"),
        ("class_map: [0, 217]", "class_map: [0]", "two different output columns"),
        ("class_map: [0, 217]", "class_map: [0, -1]", "output columns, counted from 0"),
        ("input_name: images", "input_name:", "line 2: input_name should be a name"),
        ("input_name: images", "input_name: !!python/object:os.system {}", "nested"),
        ("input_name: images", "input_name: !!python/name:os.system ''", "not valid YAML"),
        ("input_name: images", "input_name: [", "not valid YAML"),
        ("height: 224", "height: 2020-99-99", "not valid YAML"),
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
def test_yaml_is_refused_when_it_is_no_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="contract.yaml"):
        Preprocess.from_yaml(written(tmp_path, text))


def test_yaml_is_refused_when_the_file_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none.yaml: can't be read"):
        Preprocess.from_yaml(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="can't be read"):
        Preprocess.from_yaml(tmp_path)
    with pytest.raises(UsageError, match="larger than"):
        Preprocess.from_yaml(written(tmp_path, GOOD + "#" * (1 << 20)))


def test_fields_say_what_was_found_when_built_in_python(tmp_path: Path) -> None:
    contract = Preprocess.from_yaml(written(tmp_path, GOOD))
    with pytest.raises(UsageError, match="preprocessing contract: crop should be one of center, none, found 'middle'"):
        dataclasses.replace(contract, crop="middle")
    with pytest.raises(UsageError, match="'colur'; did you mean 'colour'"):
        Preprocess.from_json({**contract.to_json(), "colur": "RGB"})


@given(st.binary(max_size=200))
def test_yaml_is_refused_with_one_sentence_when_it_is_noise(noise: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.yaml"
        path.write_bytes(noise)
        with pytest.raises(UsageError) as caught:
            Preprocess.from_yaml(path)
        assert "\n" not in str(caught.value)
