"""Files of witnesses: small, exact, and refused where one byte is not what it says."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.errors import DataError
from certify.data.witnesses import (
    FORMAT,
    Witness,
    WitnessFile,
    WitnessHeader,
    moved,
    pack_signs,
    unpack_signs,
)


def header(**other: object) -> WitnessHeader:
    fields = {
        "format": FORMAT, "model": "a" * 64, "test_digest": "b" * 64, "samples": 3, "method": "pgd",
        "gradients": None, "straight_through": False, "eps": (1, 8),
    }  # fmt: skip
    return WitnessHeader(**{**fields, **other})  # type: ignore[arg-type]


def signs(seed: int, shape: tuple[int, ...] = (8, 6, 3)) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), shape)


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["free", "shared", "columns", "rows"]),
)
@settings(max_examples=60, deadline=None)
def test_signs_survive_packing(height: int, width: int, seed: int, kind: str) -> None:
    drawn_signs = signs(seed, (height, width, 3))
    if kind == "shared":
        drawn_signs = drawn_signs[..., :1].repeat(3, axis=-1)
    elif kind == "columns":
        drawn_signs = drawn_signs[:1].repeat(height, axis=0)
    elif kind == "rows":
        drawn_signs = drawn_signs[:, :1].repeat(width, axis=1)
    assert (unpack_signs(pack_signs(drawn_signs), drawn_signs.shape) == drawn_signs).all()


def test_signs_take_about_140_bytes_when_channels_change_alike() -> None:
    alike = signs(0, (32, 32, 1)).repeat(3, axis=-1)
    assert len(pack_signs(alike)) <= 150
    assert len(pack_signs(signs(0, (32, 32, 3)))) <= 400


@pytest.mark.parametrize("shape", [(8, 6, 3), (32, 32, 3)])
def test_signs_are_refused_when_their_size_differs(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="size"):
        unpack_signs(pack_signs(signs(1, (9, 6, 3))), shape)


@pytest.mark.parametrize("packed", [b"", b"\x09abc", b"\x00\xff\xff\xff", pack_signs(signs(1)) + b"\x00"])
def test_signs_are_refused_when_damaged(packed: bytes) -> None:
    with pytest.raises(ValueError, match="signs"):
        unpack_signs(packed, (8, 6, 3))


def test_signs_are_refused_when_they_would_unpack_without_bound() -> None:
    bomb = io.BytesIO()
    import zlib

    writer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb.write(b"\x00" + writer.compress(bytes(50_000_000)) + writer.flush())
    with pytest.raises(ValueError, match="size"):
        unpack_signs(bomb.getvalue(), (8, 6, 3))


def test_image_stays_within_the_change_and_the_grey_levels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    moved_image = moved(image, signs(2), 8).astype(int)
    assert np.abs(moved_image - image).max() == 8 and moved_image.min() >= 0 and moved_image.max() <= 255


def test_file_reads_back_the_same_when_written() -> None:
    ones = tuple(Witness(bytes([i]) * 16, i, 1, pack_signs(signs(i))) for i in range(3))
    witness_file = WitnessFile(header(), ones)
    assert WitnessFile.from_bytes(witness_file.to_bytes(), "f") == witness_file
    assert witness_file.to_bytes() == WitnessFile(header(), ones).to_bytes()


def test_file_is_refused_when_any_byte_is_cut_off() -> None:
    content = WitnessFile(header(), (Witness(b"x" * 16, 0, 1, pack_signs(signs(0))),)).to_bytes()
    for end in range(0, len(content), 7):
        with pytest.raises(DataError, match="not a valid witness file"):
            WitnessFile.from_bytes(content[:end], "f")


def archive(method: int = zipfile.ZIP_STORED, **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as out:
        for name, values in arrays.items():
            part = io.BytesIO()
            np.lib.format.write_array(part, values, allow_pickle=True)
            out.writestr(f"{name}.npy", part.getvalue())
    return stream.getvalue()


def columns() -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(WitnessFile(header(), ()).to_bytes())) as loaded:
        return dict(loaded)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"signs": np.array([{}], dtype=object)}, "signs"),
        ({"eps": np.zeros(3, dtype=np.uint8)}, "lengths"),
        ({"signs": np.zeros(5, dtype=np.uint8)}, "truncated"),
        ({"label": np.zeros((1, 1), dtype="<u4")}, "label"),
        ({"more": np.zeros(1)}, "contains"),
        ({"header": np.frombuffer(b"{}", dtype=np.uint8)}, "lacks the key"),
        ({"header": np.frombuffer(b"[1", dtype=np.uint8)}, "."),
    ],
)
def test_file_is_refused_when_an_array_is_not_valid(change: dict[str, np.ndarray], told: str) -> None:
    with pytest.raises((DataError, Exception), match=told) as caught:
        WitnessFile.from_bytes(archive(**{**columns(), **change}), "f")
    assert "Traceback" not in str(caught.value)
    from certify.core.errors import LeanmarkError

    assert isinstance(caught.value, LeanmarkError)


def test_file_is_refused_when_its_arrays_are_compressed() -> None:
    with pytest.raises(DataError, match="compressed"):
        WitnessFile.from_bytes(archive(zipfile.ZIP_DEFLATED, **columns()), "f")


@pytest.mark.parametrize("change", [{"eps": (0,)}, {"eps": (65,)}, {"samples": 0}, {"method": "magic"}, {"model": "a"}])
def test_file_is_refused_when_its_header_is_out_of_range(change: dict[str, object]) -> None:
    content = WitnessFile(header(**change), ()).to_bytes()
    with pytest.raises(DataError, match="f: "):
        WitnessFile.from_bytes(content, "f")
