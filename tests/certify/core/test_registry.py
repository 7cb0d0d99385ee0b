"""Parts of other distributions: found by name and by place, and refused in one sentence where they are broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from certify.core.errors import UsageError
from certify.core.registry import Registry

Install = Callable[..., Path]
GROUP = "tests.decoders"
MODULE = """
class Quick:
    name = "quick"
    def decode(self): return "quickly"
class Mute:
    name = "mute"
class Failing:
    def __init__(self): raise RuntimeError("no licence.")
number = 5
"""


class Decoder(Protocol):
    @property
    def name(self) -> str: ...

    def decode(self) -> str: ...


@pytest.fixture
def decoders() -> Registry:
    return Registry("decoder", GROUP, {"json": "json:JSONDecoder", "csv": "csv:reader"}, "See the list.", Decoder)


def test_part_is_the_same_when_named_by_entry_point_or_module(decoders: Registry, install: Install) -> None:
    install("fast", {GROUP: {"quick": "fast_parts:Quick"}}, fast_parts=MODULE)
    assert decoders.names() == ("json", "csv", "quick")
    assert decoders.load("quick") is decoders.load("fast_parts:Quick")
    assert decoders.make("quick").decode() == decoders.make("fast_parts:Quick").decode() == "quickly"
    assert decoders.place("quick") == decoders.place("fast_parts:Quick") == "fast_parts:Quick"
    assert decoders.place("json") == "json"
    decoders.check_name("quick", "quick")
    decoders.check_name("fast_parts:Quick", "quick")


def test_part_is_found_when_two_copies_of_one_distribution_are_installed(decoders: Registry, install: Install) -> None:
    for _ in range(2):
        install("fast", {GROUP: {"quick": "fast_parts:Quick"}}, fast_parts=MODULE)
    assert decoders.make("quick").name == "quick"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("absent_module:Quick", r"ModuleNotFoundError: No module named 'absent_module'\)"),
        ("fast_parts:Slow", r"AttributeError: .* has no attribute 'Slow'\)"),
        ("broken_parts:Quick", r"SyntaxError: .*"),
        ("fast_parts:number", r"TypeError: it is not callable\)"),
        ("fast_parts:Failing", r"RuntimeError: no licence\)"),
        ("fast_parts:Mute", r"TypeError: it lacks decode\)"),
    ],
)
def test_broken_part_is_refused_in_one_sentence_without_affecting_others(
    decoders: Registry, install: Install, place: str, words: str
) -> None:
    points = {"quick": place, "sound": "fast_parts:Quick"}
    install("fast", {GROUP: points}, fast_parts=MODULE, broken_parts="class Quick(:")
    with pytest.raises(
        UsageError, match=rf"^The decoder 'quick' of fast 1\.0 cannot be used \({words}; fix or uninstall it\.$"
    ):
        decoders.make("quick")
    given, unusable = decoders.survey(lambda name: decoders.make(name).name if name == "sound" else decoders.load(name))
    assert given["sound"] == "quick" and {"json", "csv"} <= set(given)
    assert ("quick" in given) != ("quick" in unusable)


def test_broken_part_is_refused_when_named_by_its_module(decoders: Registry, install: Install) -> None:
    install("fast", {}, fast_parts=MODULE)
    with pytest.raises(
        UsageError, match=r"^The decoder 'fast_parts:Failing' cannot be used \(RuntimeError: no licence"
    ):
        decoders.make("fast_parts:Failing")
    with pytest.raises(UsageError, match="did you mean 'Quick'"):
        decoders.make("fast_parts:Quik")
    with pytest.raises(UsageError, match=r"Unknown decoder 'jsn'; did you mean 'json'\? See the list\.$"):
        decoders.make("jsn")


def test_own_part_is_kept_when_a_distribution_registers_its_name(decoders: Registry, install: Install) -> None:
    import json

    install("fast", {GROUP: {"json": "fast_parts:Quick"}}, fast_parts=MODULE)
    assert decoders.load("json") is json.JSONDecoder
    given, unusable = decoders.survey(decoders.load)
    assert given["json"] is json.JSONDecoder and decoders.names() == ("json", "csv")
    assert unusable == {
        "fast_parts:Quick": "The decoder 'json' is built in, and fast_parts:Quick of fast 1.0 cannot replace it; "
        "rename that one."
    }


def test_both_modules_are_named_when_two_distributions_register_one_name(decoders: Registry, install: Install) -> None:
    install("fast", {GROUP: {"quick": "fast_parts:Quick"}}, fast_parts=MODULE)
    install("rapid", {GROUP: {"quick": "rapid_parts:Quick"}}, rapid_parts=MODULE)
    both = "'quick' is registered twice, as rapid_parts:Quick of rapid 1.0 and fast_parts:Quick of fast 1.0; uninstall"
    with pytest.raises(UsageError, match=both):
        decoders.load("quick")
    _, unusable = decoders.survey(decoders.load)
    assert set(unusable) == {"fast_parts:Quick", "rapid_parts:Quick"} and "quick" not in decoders.names()
    assert decoders.make("fast_parts:Quick").decode() == "quickly"
    decoders.check_name("fast_parts:Quick", "quick")


@pytest.mark.parametrize(
    ("name", "place", "words"),
    [
        ("Quick+json", "fast_parts:Quick", "a name may only have lower-case letters"),
        ("quick", "fast_parts", "must have the form package.module:Name"),
    ],
)
def test_entry_point_is_refused_when_name_or_module_is_malformed(
    decoders: Registry, install: Install, name: str, place: str, words: str
) -> None:
    install("fast", {GROUP: {name: place}}, fast_parts=MODULE)
    with pytest.raises(UsageError, match=words):
        decoders.load(name)
    assert decoders.names() == ("json", "csv")


@pytest.mark.parametrize(
    ("asked", "own_name", "words"),
    [
        ("quick", "json", "is registered as the decoder 'quick', but calls itself 'json'"),
        ("fast_parts:Quick", "json", "has the name 'json' of json:JSONDecoder"),
        ("fast_parts:Mute", "quick", "has the name 'quick' of fast_parts:Quick"),
        ("fast_parts:Quick", "json+quick", "calls itself 'json[+]quick'; a name may only have lower-case letters"),
        ("fast_parts:Quick", "replay:x", "a name may only have lower-case letters"),
    ],
)
def test_part_is_refused_when_its_name_is_not_its_own(
    decoders: Registry, install: Install, asked: str, own_name: str, words: str
) -> None:
    install("fast", {GROUP: {"quick": "fast_parts:Quick"}}, fast_parts=MODULE)
    with pytest.raises(UsageError, match=words):
        decoders.check_name(asked, own_name)
