from __future__ import annotations

import hashlib

import numpy as np
import pytest

from certify.core.errors import MeasureError
from certify.measure import yardstick


def test_yardstick_has_the_same_bytes_everywhere_and_is_kept() -> None:
    path = yardstick.yardstick_file()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == yardstick.SHA256
    made = path.stat().st_mtime_ns
    assert yardstick.yardstick_file().stat().st_mtime_ns == made


def test_yardstick_is_built_again_when_the_kept_file_is_damaged() -> None:
    path = yardstick.yardstick_file()
    path.write_bytes(path.read_bytes()[:-1])
    assert hashlib.sha256(yardstick.yardstick_file().read_bytes()).hexdigest() == yardstick.SHA256


def test_yardstick_is_refused_when_libraries_build_different_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yardstick, "build", lambda: b"another")
    with pytest.raises(MeasureError, match="writes it differently"):
        yardstick.yardstick_file()


def test_yardstick_outputs_ordinary_numbers() -> None:
    import onnxruntime as ort

    session = ort.InferenceSession(str(yardstick.yardstick_file()), providers=["CPUExecutionProvider"])
    images = yardstick.images()
    (output,) = session.run(None, {yardstick.INPUT_NAME: images[:1]})
    assert output.shape == (1, 1000)
    assert 0.1 < np.abs(output).mean() < 100  # neither faded out nor blown up through 50 layers


def test_images_are_standardised_and_smooth_like_natural_ones() -> None:
    images = yardstick.images()
    assert np.allclose(images.std(axis=(-2, -1)), 1, atol=1e-3)
    assert np.allclose(images.mean(axis=(-2, -1)), 0, atol=1e-3)
    assert np.mean(images[..., 1:] * images[..., :-1]) > 0.7
    assert len({image.tobytes() for image in images}) == yardstick.IMAGES
