"""The report in a real browser without a window: no console error, no request, no script, and something to see."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from certify.present.charts.palette import DARK, LIGHT
from certify.present.report import report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOSTILE = (
    "</title></style><script>document.title='pwned'</script><img src=http://example.org/x onerror=document.title='p'>"
)

browser = next(filter(None, map(shutil.which, BROWSERS)), None)
PHONE = ("--allow-file-access-from-files", "--dump-dom")
pytestmark = pytest.mark.skipif(browser is None, reason="no Chromium is installed (apt-get install chromium)")


@dataclass(frozen=True)
class Opened:
    """What a browser made of a page: its document, what it wrote to the console, and what it asked for."""

    document: str
    console: list[str]
    requests: list[str]


def run(page: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    assert browser is not None
    command = [
        browser, "--headless", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
        "--no-first-run", "--disable-component-update", "--disable-sync",
        "--disable-extensions", "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
        *(["--no-sandbox"] if os.geteuid() == 0 else []), *flags, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)


def open_page(page: Path, folder: Path) -> Opened:
    log = folder / "net.json"
    done = run(page, folder, f"--log-net-log={log}", "--dump-dom")
    events = json.loads(log.read_text())["events"]
    # A request of the page is keyed by its origin, those of the browser itself by none or by their own.
    asked = [
        event["params"]["url"]
        for event in events
        if "file://" in str(event.get("params", {}).get("network_isolation_key")) and "url" in event["params"]
    ]
    return Opened(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line], asked)


def screenshot(page: Path, folder: Path, *flags: str) -> np.ndarray[Any, Any]:
    shot = folder / "shot.png"
    run(page, folder, f"--screenshot={shot}", "--window-size=1200,1600", *flags)
    return np.asarray(Image.open(io.BytesIO(shot.read_bytes())).convert("RGB"))


def rgb(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def test_report_opens_without_console_messages_or_requests_in_a_browser(graded: Path, tmp_path: Path) -> None:
    report(graded, out=tmp_path / "report.html")
    opened = open_page(tmp_path / "report.html", tmp_path)
    assert opened.console == []
    assert opened.requests == []
    assert "How to check it" in opened.document
    assert "<script" not in opened.document


def test_browser_reports_console_messages_and_requests(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<script>console.error("seen")</script><img src="http://example.org/x.png">')
    opened = open_page(page, tmp_path)
    assert any("seen" in line for line in opened.console)
    assert opened.requests == ["http://example.org/x.png"]


def test_report_runs_nothing_when_certificate_is_hostile(certify_small: Callable[..., Any], tmp_path: Path) -> None:
    path = certify_small(model=HOSTILE, header={"baseline_origin": HOSTILE, "device": {"processor": HOSTILE}}).path
    report(path, out=tmp_path / "report.html")
    opened = open_page(tmp_path / "report.html", tmp_path)
    assert (opened.console, opened.requests) == ([], [])
    assert "<title>Measured saving of &lt;/title&gt;" in opened.document


@pytest.mark.parametrize(("flags", "colours"), [((), LIGHT), (("--blink-settings=preferredColorScheme=0",), DARK)])
def test_report_has_its_colours_in_light_and_dark_mode(
    graded: Path, tmp_path: Path, flags: tuple[str, ...], colours: dict[str, str]
) -> None:
    report(graded, out=tmp_path / "report.html")
    seen = screenshot(tmp_path / "report.html", tmp_path, *flags)
    assert seen[2, 2].tolist() == rgb(colours["paper"])
    ink = (seen[:, 620:] == rgb(colours["ink"])).all(axis=2)  # right of the label, which is black on white always
    assert ink.sum() > 500


def test_no_table_overflows_on_a_phone_screen(graded: Path, tmp_path: Path) -> None:
    report(graded, out=tmp_path / "report.html")
    phone = tmp_path / "phone.html"
    phone.write_text(
        '<iframe src="report.html" width="360" height="800"></iframe><script>onload=()=>{'
        'const all=[...frames[0].document.querySelectorAll(".scroll")];'
        'document.body.dataset.wide=all.length+" tables: "+all.filter(e=>e.scrollWidth>e.clientWidth).length}</script>'
    )
    found = re.search(r'data-wide="(\d+) tables: (\d+)"', run(phone, tmp_path, *PHONE).stdout)
    assert found is not None
    assert int(found[1]) >= 4 and found[2] == "0"
