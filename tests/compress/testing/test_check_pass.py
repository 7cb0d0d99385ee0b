"""The public checks: a pass of somebody else's passes them, and each broken one fails at the check that it breaks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest
import torch
from pydantic import ConfigDict, Field
from torch import nn

from compress.core.pass_protocol import Declined, OnnxPass, PassRecord, PassTags, TorchPass
from compress.private.entropy import gaussian
from compress.private.noise_check import require_noise
from compress.testing import CHECKS, CheckFailed, check_pass
from compress.testing.networks import network


class Shrink(TorchPass):
    """Make every weight of the head smaller.

    Papers: none is needed.

    When not to use it: ever, but in a test.
    """

    name: ClassVar[str] = "shrink"
    version: ClassVar[int] = 1

    factor: float = Field(0.5, gt=0, le=1, description="What the weights are multiplied by.")

    def apply(self, model, context):
        smaller = copy.deepcopy(model).eval()
        smaller.head.weight.data *= self.factor
        return smaller, PassRecord({"factor": self.factor})


class Rename(OnnxPass):
    """Give the graph another name.

    Papers: none is needed.

    When not to use it: ever, but in a test.
    """

    name: ClassVar[str] = "rename"
    version: ClassVar[int] = 1

    def apply(self, model, context):
        loaded = onnx.load(model)
        loaded.graph.name = "renamed"
        written = context.workspace / "renamed.onnx"
        onnx.save(loaded, written)
        return written, PassRecord({"name": "renamed"})


class Silent(Shrink):
    """Make every weight smaller, without stating when not to."""


class Lax(Shrink):
    __doc__ = Shrink.__doc__
    model_config = ConfigDict(extra="ignore")


class Soft(Shrink):
    __doc__ = Shrink.__doc__
    model_config = ConfigDict(frozen=False, extra="allow")

    def config(self):
        return {"factor": self.factor}


class Forgetful(Shrink):
    __doc__ = Shrink.__doc__

    def config(self):
        return {"factor": 1.0}


class InPlace(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        model.head.weight.data *= self.factor
        return copy.deepcopy(model), PassRecord({"factor": self.factor})


class Idle(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        return copy.deepcopy(model), PassRecord({"factor": self.factor})


class Refusing(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        return super().apply(model, context)[0], PassRecord.refused("it never works")


class Wordless(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        return super().apply(model, context)[0], PassRecord({"a": 1}, (Declined("head", ""),))


class Tuples(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        return super().apply(model, context)[0], PassRecord({"shape": (1, 2)})


class Tensors(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        return super().apply(model, context)[0], PassRecord({"weight": model.head.weight})


class NoRecord(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        return super().apply(model, context)[0], {"factor": self.factor}


class Random(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        changed, record = super().apply(model, context)
        with torch.random.fork_rng(devices=[]):
            changed.head.weight.data += torch.rand_like(changed.head.weight)
        return changed, record


class Noisy(Shrink):
    __doc__ = Shrink.__doc__
    tags: ClassVar[PassTags] = PassTags(noisy=True)

    def apply(self, model, context):
        require_noise(lambda: gaussian(4), 1.0, "noisy")
        changed, record = super().apply(model, context)
        changed.head.bias.data += torch.from_numpy(gaussian(len(changed.head.bias))).float()
        return changed, record


class Trusting(Shrink):
    __doc__ = Shrink.__doc__
    tags: ClassVar[PassTags] = PassTags(noisy=True)

    def apply(self, model, context):
        changed, record = super().apply(model, context)
        changed.head.bias.data += torch.from_numpy(gaussian(len(changed.head.bias))).float()
        return changed, record


class Subtractable(Shrink):
    __doc__ = Shrink.__doc__
    tags: ClassVar[PassTags] = PassTags(noisy=True)


class Seeding(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        torch.manual_seed(context.seed)
        return super().apply(model, context)


class NumpySeeding(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        np.random.seed(context.seed)
        return super().apply(model, context)


class Bypassing(Shrink):
    """Make every weight smaller after a look at samples that no ledger notes.

    Papers: none is needed.

    When not to use it: ever, but in a test.
    """

    def apply(self, model, context):
        context.data.train._source.image(0)
        return super().apply(model, context)


class Headless(Shrink):
    __doc__ = Shrink.__doc__

    def apply(self, model, context):
        changed, record = super().apply(model, context)
        changed.head = nn.Identity()
        return changed, record


class Meddling(Rename):
    __doc__ = Rename.__doc__

    def apply(self, model, context):
        context.teacher.head.weight.data *= 0.5
        return super().apply(model, context)


class Untidy(Rename):
    __doc__ = Rename.__doc__

    def apply(self, model, context):
        (context.workspace / "notes.txt").write_text("left")
        return super().apply(model, context)


BROKEN = {
    Silent: "description",
    Lax: "unknown_parameter",
    Forgetful: "config",
    InPlace: "input",
    Meddling: "input",
    Idle: "input",
    Refusing: "record",
    Wordless: "record",
    Tuples: "record",
    Tensors: "record",
    NoRecord: "input",
    Random: "seed",
    Subtractable: "seed",
    Trusting: "noise",
    Seeding: "generators",
    NumpySeeding: "generators",
    Bypassing: "touches",
    Headless: "export",
    Untidy: "folder",
}


@pytest.mark.parametrize("kind", [Shrink, Rename, Noisy])
def test_third_party_pass_passes_when_it_meets_every_requirement(kind):
    check_pass(kind)
    check_pass(kind())


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_pass_fails_the_check_that_it_breaks(kind):
    with pytest.raises(CheckFailed, match=rf"{kind.__name__} .*\(check: {BROKEN[kind]}\)"):
        check_pass(kind)


def test_pass_that_seeds_fails_when_the_generator_has_that_seed_already():
    with torch.random.fork_rng(devices=[]), pytest.raises(CheckFailed, match="check: generators"):
        torch.manual_seed(0)
        check_pass(Seeding)


def test_pass_fails_when_it_is_mutable():
    with pytest.raises(CheckFailed, match="check: (unknown_parameter|frozen)"):
        check_pass(Soft)


def test_every_check_is_broken_by_some_pass():
    assert {*BROKEN.values(), "frozen"} == set(CHECKS)


def test_differing_models_are_allowed_when_the_tags_say_that_the_pass_is_not_deterministic():
    class Admitted(Random):
        __doc__ = Random.__doc__
        tags: ClassVar[PassTags] = PassTags(deterministic=False)

    check_pass(Admitted)


def test_pass_is_tried_on_the_given_model():
    class Counting(Shrink):
        __doc__ = Shrink.__doc__
        seen: ClassVar[set[str]] = set()

        def apply(self, model, context):
            self.seen.add(type(model).__name__)
            return super().apply(model, context)

    check_pass(Counting, model=network("blocks"))
    assert Counting.seen == {"Deep"}


def test_pass_is_tried_on_the_given_file(exported: Path):
    check_pass(Rename, model=exported)
