"""The documentation site: it builds without a warning, all its links hold, and a browser opens it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / "recipes" / "guides"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

browser = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed (extra docs)")
    site = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", "recipes/mkdocs.yml", "--site-dir", site],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and not (done.stdout + done.stderr).strip(), done.stdout + done.stderr
    return site


def test_every_guide_becomes_a_page_that_the_navigation_names(site: Path) -> None:
    pages = {path.relative_to(GUIDES).with_suffix(".html") for path in GUIDES.rglob("*.md")}
    index = (site / "index.html").read_text()
    assert {page for page in pages if not (site / page).is_file()} == set()
    assert {page for page in pages if f'href="{page}"' not in index} == set()


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loading = re.compile(r"<(?:script|img|iframe)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+stylesheet[^>]+https?://")
    assert [page.name for page in site.rglob("*.html") if loading.search(page.read_text())] == []


@pytest.mark.skipif(browser is None, reason="no Chromium is installed (apt-get install chromium)")
@pytest.mark.parametrize(
    ("page", "shown"), [("index.html", "Compress a model"), ("reference/commands.html", "--at-least")]
)
def test_page_opens_in_a_browser_without_an_error(site: Path, tmp_path: Path, page: str, shown: str) -> None:
    assert browser is not None
    done = subprocess.run(
        [browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr", "--dump-dom",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path}",
         *(["--no-sandbox"] if os.geteuid() == 0 else []), (site / page).as_uri()],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip
    assert shown in done.stdout
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line and "rror" in line] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_the_root_documents_lead_to_files(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / name).read_text())
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_readme_fits_on_two_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100
