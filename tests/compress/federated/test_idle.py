"""Idle clients: when they begin, how soon they yield, and what they may use in a day."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch import nn

from certify.core.errors import MissingExtra
from certify.data import default_preprocess
from compress.federated.client import Client
from compress.federated.idle import Declined, Idle, IdlePolicy, Machine
from compress.federated.learner import Learner, LocalTraining, Moment
from compress.federated.local_data import LocalData
from compress.federated.weights import Layout
from compress.testing.networks import blobs
from tests.compress.federated.conftest import Fleet, small_model

Make = Callable[..., Fleet]


@dataclass
class Fake(Machine):
    """A machine of four processors on which others use a share, and a clock that sleeping moves."""

    share: float = 0.0
    battery: bool = False
    now: float = 100.0
    used: float = 0.0
    slept: float = 0.0

    def on_battery(self) -> bool:  # type: ignore[override]
        return self.battery

    def busy_s(self) -> float:  # type: ignore[override]
        return self.used

    def own_s(self) -> float:  # type: ignore[override]
        return 0.0

    def processors(self) -> int:  # type: ignore[override]
        return 4

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.used += 4 * self.share * seconds


def made(machine: Fake, folder: Path | None = None, hour: int = 12, day: int = 1, **policy: object) -> Idle:
    return Idle(
        IdlePolicy(**policy), folder, machine, lambda: machine.now,  # type: ignore[arg-type]
        lambda: datetime(2026, 11, day, hour), machine.pass_time,
    )  # fmt: skip


def test_client_begins_when_nothing_is_in_the_way() -> None:
    made(Fake(share=0.2)).require()


@pytest.mark.parametrize(
    ("machine", "policy", "hour", "reason", "sentence"),
    [
        (Fake(share=0.5), {}, 12, "busy", "Others use 50% of the processor"),
        (Fake(battery=True), {}, 12, "policy", "mains power only"),
        (Fake(), {"hours": ((22, 24), (0, 6))}, 12, "policy", "it is 12 o'clock"),
    ],
)
def test_client_declines_with_the_reason(
    machine: Fake, policy: dict[str, object], hour: int, reason: str, sentence: str
) -> None:
    with pytest.raises(Declined, match=sentence) as error:
        made(machine, hour=hour, **policy).require()
    assert error.value.reason == reason


def test_battery_and_night_are_allowed_when_the_policy_says_so() -> None:
    made(Fake(battery=True), mains_only=False).require()
    made(Fake(), hour=23, hours=((22, 24), (0, 6))).require()


def test_client_sleeps_while_others_need_the_processor_and_goes_on_then() -> None:
    machine = Fake()
    at_work = made(machine)
    at_work.step()
    machine.share = 1.0
    machine.pass_time(0.3)
    before = machine.slept

    def pass_time(seconds: float) -> None:
        machine.share = 1.0 if machine.slept - before < 5 else 0.0
        machine.pass_time(seconds)

    at_work.sleep = pass_time
    at_work.step()
    assert 5 <= machine.slept - before < 6


def test_client_gives_up_when_others_need_it_for_long() -> None:
    machine = Fake()
    at_work = made(machine, give_up_s=10.0)
    at_work.step()
    machine.share = 1.0
    machine.pass_time(0.3)
    with pytest.raises(Declined, match="for 10 s"):
        at_work.step()
    assert machine.slept < 12


class Slow(nn.Module):
    """A layer that takes some time of a fake machine, forward and backward, and notes when it began."""

    def __init__(self, machine: Fake, seconds: float, began: list[tuple[float, str]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.weight.register_hook(lambda _: self.work("backward"))
        self._machine, self._seconds, self._began = machine, seconds, began

    def work(self, where: str) -> None:
        self._began.append((self._machine.now, where))
        self._machine.pass_time(self._seconds)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        self.work("forward")
        return samples * self.weight


@pytest.mark.parametrize(("layers", "seconds", "within"), [(12, 0.3, 1.0), (3, 5.0, 5.3)])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_client_yields_within_a_second_of_a_slow_step_unless_one_layer_takes_longer(
    layers: int, seconds: float, within: float, where: str
) -> None:
    """The load comes in the middle of a step that takes seconds, and goes after a minute in which nothing is used."""
    machine, began = Fake(), list[tuple[float, str]]()
    at_work, data = made(machine, give_up_s=300.0), blobs()
    assert data.train is not None
    model = nn.Sequential(*(Slow(machine, seconds, began) for _ in range(layers)), small_model())
    learner, content = Learner(model, default_preprocess(data)), Layout.of(model).content(model)
    learner.model = model  # and not a copy, whose machine would be another
    local, training = LocalData(data.train.subset(range(16)), None), LocalTraining(batch=16)
    learner.learn(content, local, training, Moment(1, 1, 0))
    half = [at - 100.0 for at, which in began if which == where][-layers // 2]  # from the beginning
    began.clear()
    comes = machine.now + half + seconds / 2
    pass_time = machine.pass_time

    def shared(seconds_: float) -> None:
        machine.share = 1.0 if comes <= machine.now + seconds_ and machine.now < comes + 60 else 0.0
        pass_time(seconds_)

    machine.pass_time = at_work.sleep = shared  # type: ignore[method-assign]
    learner.learn(content, local, training, Moment(1, 1, 0), at_work.step)
    assert max(one for one in began if one[0] < comes)[1] == where
    assert not [at for at, _ in began if comes + within < at < comes + 60] and began[-1][0] > comes + 60


def test_budget_of_a_day_survives_a_restart_and_is_new_the_next_day(tmp_path: Path) -> None:
    first = made(Fake(), tmp_path, joules_per_day=100.0)
    first.used(60.0)
    first.require()
    first.used(60.0)
    with pytest.raises(Declined, match="120 J today; its budget is 100 J") as error:
        made(Fake(), tmp_path, joules_per_day=100.0).require()
    assert error.value.reason == "budget"
    made(Fake(), tmp_path, day=2, joules_per_day=100.0).require()


def test_budget_cannot_be_kept_when_nothing_measures_joules() -> None:
    at_work = made(Fake(), joules_per_day=100.0)
    at_work.require()
    at_work.used(None)
    with pytest.raises(Declined, match="No meter"):
        at_work.require()


def test_damaged_file_of_the_day_counts_from_zero(tmp_path: Path) -> None:
    (tmp_path / "energy.json").write_text("{")
    made(Fake(), tmp_path, joules_per_day=1.0).require()


def test_battery_is_read_as_the_library_states_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for state, expected in ((None, False), (False, True), (True, False)):
        battery = None if state is None else SimpleNamespace(power_plugged=state)
        monkeypatch.setattr(psutil, "sensors_battery", lambda battery=battery: battery, raising=False)
        assert Machine.on_battery() is expected


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psutil", None)
    with pytest.raises(MissingExtra, match="federated"):
        Machine.busy_s()


def test_client_that_declines_is_dropped_with_its_reason_and_receives_no_blame(fleet: Make) -> None:
    fleet_ = fleet(rounds=1)

    def changed(name: str, client: Client) -> None:
        if name == "client-00001":
            client.idle = made(Fake(share=0.9))

    fleet_.changed = changed
    fleet_.run()
    (one,) = fleet_.sound().rounds[0].close.message.dropped
    assert one.reason == "busy" and not fleet_.read().rounds[0].close.message.refused


HOG = "print('here', flush=True)\nwhile True: pass"
"""A program that takes a processor; it imports nothing, since four of them begin together."""


def _steps(at_work: Idle, stop: threading.Event, ends: list[float]) -> None:
    """Work in short steps, as a training does, and note when each of them ended."""
    while not stop.is_set():
        began = time.process_time()
        while time.process_time() - began < 0.02:
            pass
        ends.append(time.monotonic())
        at_work.step()


def test_client_yields_within_a_second_when_a_real_hog_comes() -> None:
    """On a machine that is busy anyway the client sleeps from the beginning, which is right too."""
    stop, ends = threading.Event(), list[float]()
    at_work = Idle(IdlePolicy(mains_only=False, give_up_s=300.0))
    worker = threading.Thread(target=_steps, args=(at_work, stop, ends), daemon=True)
    worker.start()
    started = [sys.executable, "-I", "-S", "-c", HOG]
    hogs = [subprocess.Popen(started, stdout=subprocess.PIPE) for _ in range(2 * Machine.processors())]
    try:
        assert all(hog.stdout is not None and hog.stdout.readline() == b"here\n" for hog in hogs)
        here = time.monotonic()
        time.sleep(2.0)
        late = [end for end in ends if end > here + 1.0]
        with pytest.raises(Declined, match="Others use"):
            Idle(IdlePolicy(mains_only=False)).require()
    finally:
        stop.set()
        for hog in hogs:
            hog.kill()
            hog.communicate()
    assert ends and not late
