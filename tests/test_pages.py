"""Every shell session and snippet in README and docs runs and says what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import ROOT, blocks, run_page

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.exists() and blocks(page)], ids=lambda page: page.name
)
def test_what_the_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize(
    "example", sorted((ROOT / "examples").glob("*.py")), ids=lambda example: example.name
)
def test_every_example_runs(example: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, str(example)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
