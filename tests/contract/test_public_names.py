"""The public face of both packages: what dir() shows, and an example for each name."""

from __future__ import annotations

import ast
import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import certify
import compress

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"certify": certify, "compress": compress}
NAMES = [(package, name) for package in PACKAGES for name in PACKAGES[package].__all__ if name != "__version__"]

MEASURES, TRAINS = "it measures", "it trains a network"
SKIPPED = {
    "certify.api.certify": MEASURES,
    "certify.api.profile": MEASURES,
    "certify.assessment.profile.Profile.to_dataframe": "it needs pandas",
    "certify.assessments.federation.recording.record": "it needs a federated run",
    "certify.core.errors.MeasureError": MEASURES,
    "certify.core.progress.Bars": "it draws on the terminal",
    "certify.workflows.certification_result.Result": MEASURES,
    "certify.measure.short_comparison.compare": MEASURES,
    "compress.job.compression_result.CompressionResult": TRAINS,
    "compress.job.cost_table.cost_table": MEASURES,
    "compress.job.pipeline.run": TRAINS,
    "compress.search.outcome.SearchResult": TRAINS,
    "compress.search.search.search_recipe": TRAINS,
}
"""Examples that no test runs, with the reason; a new one must be entered by hand."""

Documented = ast.FunctionDef | ast.ClassDef | ast.Module


def documented(tree: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Names and docstrings of a module, its classes and its functions."""
    if isinstance(tree, Documented) and (text := ast.get_docstring(tree)) is not None:
        yield name, text
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield from documented(child, f"{name}.{child.name}")


def skipped_examples(text: str) -> list[str]:
    examples = doctest.DocTestParser().get_examples(text)
    return [one.source for one in examples if one.options.get(doctest.SKIP)]


@pytest.fixture(scope="module")
def skipped() -> dict[str, list[str]]:
    """Sources of the examples that no test runs, by the name of what they document."""
    found = {}
    for path in (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))):
        text = path.read_text()
        if "+SKIP" in text:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found |= {name: skipped_examples(text) for name, text in documented(ast.parse(text), module)}
    return {name: sources for name, sources in found.items() if sources}


@pytest.mark.parametrize("package", PACKAGES)
def test_dir_shows_the_public_names_and_nothing_else(package: str) -> None:
    module = PACKAGES[package]
    assert dir(module) == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_public_name_has_an_example_of_its_own(package: str, name: str) -> None:
    text = getattr(PACKAGES[package], name).__doc__  # not inspect.getdoc: an inherited example is another name's
    assert text and doctest.DocTestParser().get_examples(text)


def test_examples_that_no_test_runs_are_listed_with_a_reason(skipped: dict[str, list[str]]) -> None:
    assert set(skipped) == set(SKIPPED), "run the example, or enter its name with the reason"


def test_skipped_examples_call_public_functions_with_parameters_that_exist(skipped: dict[str, list[str]]) -> None:
    calls = [call for sources in skipped.values() for source in sources for call in _public_calls(source)]
    assert len(calls) >= 8
    for function, call in calls:
        positional, named = [None for _ in call.args], {str(one.arg): None for one in call.keywords}
        inspect.signature(function).bind(*positional, **named)


def _public_calls(source: str) -> Iterator[tuple[Any, ast.Call]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            package = PACKAGES.get(ast.unparse(node.func.value))
            if package is not None:
                assert node.func.attr in package.__all__
                yield getattr(package, node.func.attr), node


def test_skip_is_found_in_a_docstring() -> None:
    source = 'def f():\n    """Do it.\n\n    >>> f()  # doctest: +SKIP\n    >>> 1\n    1\n    """'
    assert {name: skipped_examples(text) for name, text in documented(ast.parse(source), "m")} == {
        "m.f": ["f()  # doctest: +SKIP\n"]
    }
