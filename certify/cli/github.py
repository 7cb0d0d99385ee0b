"""Annotations and step summaries of GitHub Actions jobs.

See https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from certify.core.text import clean

TITLE = "leanmark gate"


def annotate(file: Path, reasons: Sequence[str], passed: str = "") -> None:
    """Show why a gate stopped a model, or that it passed; do nothing if GITHUB_ACTIONS is not set.

    Annotations go to standard error, which the runner reads too, so that standard output holds only JSON.

    Args:
        file: the model.
        reasons: reasons to stop it; empty if it passed.
        passed: the verdict of a model that passed.
    """
    # GitHub sets it to exactly "true".
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for reason in reasons or (passed,):
        # Standard error, because standard output may be JSON.
        click.echo(f"::{'error' if reasons else 'notice'} title={TITLE}::{_escaped(clean(reason))}", err=True)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        listed = "\n".join(f"- {_plain(reason)}" for reason in reasons or (passed,))
        with Path(summary).open("a", encoding="utf-8") as stream:
            stream.write(f"### {TITLE}: {'stopped' if reasons else 'passed'} `{_plain(str(file))}`\n\n{listed}\n")


def _escaped(text: str) -> str:
    # Escaped as workflow commands require, because a line break would start another command.
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _plain(text: str) -> str:
    """Escape everything in an untrusted text that Markdown or HTML would read as markup."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#!~" else letter for letter in clean(text))
