"""Unchecked contents of a recipe: YAML or Python values, with what it extends and the settings over it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from certify.core.yaml_document import Document, parse_document
from compress.core.pass_protocol import Pass

SECTIONS = ("budget", "workload")
NUMBERED = re.compile(r"(?P<name>.+)\[(?P<number>[1-9][0-9]*)\]")
SETTING = "write PASS.PARAMETER=VALUE, such as structured_prune.macs=0.4, or budget.max_loss_percent=1"
Keys = tuple[int | str, ...]


@dataclass(frozen=True)
class RecipeText:
    """The values of a recipe, and where each was written.

    Attributes:
        values: values by key, not yet checked.
        places: file and line, or the setting, by the keys that lead to a value; ``()`` stands for the whole recipe.
        extends: names of the recipes that it extends, the nearest first.
        settings: overridden values, as ``PASS.PARAMETER=VALUE``.
    """

    values: Mapping[str, Any]
    places: Mapping[Keys, str]
    extends: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @classmethod
    def of_document(cls, document: Document) -> RecipeText:
        """Read the contents of a file."""
        return cls(document.values, {keys: document.place(*keys) for keys in document.lines})

    def place(self, *keys: int | str) -> str:
        """Return where a value was written, or where it would be."""
        # A default is not in the text, so report the line of the nearest value around it.
        while keys not in self.places:
            keys = keys[:-1]
        return self.places[keys]

    def over(self, base: RecipeText, name: str) -> RecipeText:
        """Inherit everything that this recipe does not state from another one, ``name``; passes are never merged."""
        own = {key: value for key, value in self.values.items() if value is not None}
        inherited = {key: value for key, value in base.values.items() if key not in ("name", "description")}
        merged = {**inherited, **own}
        for key in SECTIONS:
            if isinstance(own.get(key), dict) and isinstance(inherited.get(key), dict):
                merged[key] = {**inherited[key], **own[key]}
        # Do not confuse the positions of inherited passes with those of the recipe's own.
        inherited_places = {
            keys: place for keys, place in base.places.items() if keys[:1] != ("passes",) or "passes" not in own
        }
        return replace(
            self,
            values=merged,
            places={**inherited_places, **self.places},
            extends=(name, *base.extends),
            settings=base.settings,
        )

    def with_setting(self, name: str, value: Any, place: str) -> RecipeText:
        """Return the recipe with one value set.

        Args:
            name: ``PASS.PARAMETER``, ``PASS[2].PARAMETER`` for the second pass of that name, or ``budget.KEY``;
                ``PARAMETER`` is enough for a recipe with one pass.
            value: plain value.
            place: prefix of the errors about it.

        Raises:
            UsageError: the recipe has no pass of that name, or more than one.
        """
        head, _, key = name.rpartition(".")
        items = self.values.get("passes")
        if not head and isinstance(items, list) and len(items) == 1:
            head, _ = named_pass(items[0], self.place, 0)
        if not head or not key:
            raise UsageError(f"{place}: {SETTING}.")
        settings = (*self.settings, f"{name}={value}")
        if head in SECTIONS:
            keys: Keys = (head, key)
            values = {**self.values, head: {**_mapping(self.values.get(head), head, self.place(head)), key: value}}
        else:
            number, named, parameters = self._pass(head, place)
            keys, items = ("passes", number, named, key), list(self.values["passes"])
            own = _mapping(parameters, named, self.place("passes", number))
            items[number] = {named: {**own, key: value}}
            values = {**self.values, "passes": items}
        return replace(self, values=values, places={**self.places, keys: place}, settings=settings)

    def _pass(self, wanted: str, place: str) -> tuple[int, str, Any]:
        """Return index, name and parameters of the pass that a setting names."""
        match = NUMBERED.fullmatch(wanted)
        name, number = (match["name"], int(match["number"])) if match else (wanted, 0)
        items = self.values.get("passes")
        listed = items if isinstance(items, list) else []
        found = [named_pass(item, self.place, index) for index, item in enumerate(listed)]
        same = [(index, each, parameters) for index, (each, parameters) in enumerate(found) if each == name]
        if not same:
            known = (*(each for each, _ in found), *SECTIONS)
            raise UsageError(f"{place}: {unknown_name('pass of this recipe', name, known)}")
        if number > len(same) or (len(same) > 1 and not number):
            which = " or ".join(f"{name}[{n}]" for n in range(1, len(same) + 1))
            raise UsageError(f"{place}: the recipe has {name} {len(same)} times; write {which}.")
        return same[max(number, 1) - 1]


def _mapping(value: Any, name: str, place: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise UsageError(f"{place}: {name} must be a mapping, got {value!r}.")
    return value or {}


def named_pass(item: Any, place: Callable[..., str], number: int) -> tuple[str, Any]:
    """Return the name and parameters of one item of ``passes``.

    Raises:
        UsageError: it is neither a name nor one name with parameters.
    """
    if isinstance(item, Pass):
        return item.name, item.config()
    named = {item: None} if isinstance(item, str) else item
    if not isinstance(named, dict) or len(named) != 1:
        raise UsageError(
            f"{place('passes', number)}: each pass must be a name, or a name with its parameters under it."
        )
    ((name, parameters),) = named.items()
    return name, {} if parameters is None else parameters


def with_settings(text: RecipeText, settings: Iterable[str]) -> RecipeText:
    """Apply ``NAME=VALUE`` settings of a command line to a recipe; values are parsed as YAML.

    Raises:
        UsageError: a setting is malformed, or names something that the recipe does not have.
    """
    for setting in settings:
        name, equals, written = setting.partition("=")
        place = f"--set {setting}"
        if not equals:
            raise UsageError(f"{place}: {SETTING}.")
        value = parse_document(f"value: {written}", place).values.get("value")
        text = text.with_setting(name.strip(), value, place)
    return text
