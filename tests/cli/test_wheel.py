"""A wheel in an empty environment: rooms without extras, the demo with the extra ``cli``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from sdkit.cli.start import INSTALL
from tests.pages import ROOT

# Whatever is no part of the extras `cli` and `spec`.
ROOMS = sorted(
    path.parent.name
    for path in (ROOT / "sdkit").glob("*/__init__.py")
    if path.parent.name not in ("cli", "spec")
)


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_wheel_has_every_room_without_extras_and_runs_the_demo_with_cli(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip")
    built = run(*pip, "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT, cwd=tmp_path)
    if built.returncode != 0 and "CI" not in os.environ:
        pytest.skip(f"pip cannot build a wheel on this machine: {built.stderr[-300:]}")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("system_design_kit-*.whl")
    python = tmp_path / "empty" / "bin" / "python"
    venv.create(tmp_path / "empty", with_pip=False)  # our pip serves it, and saves making its own
    install = (*pip, "--python", python, "install", "--quiet", "--no-compile")

    installed = run(*install, wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    for name in ("hypothesis", "typer", "rich"):
        assert run(python, "-c", f"import {name}", cwd=tmp_path).returncode != 0
    for room in ROOMS:
        imported = run(python, "-c", f"import sdkit.{room}", cwd=tmp_path)
        assert imported.returncode == 0, imported.stderr
    refused = run(python.parent / "sdkit", "demo", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == f"error: the command line needs typer: {INSTALL}\n"

    installed = run(*install, f"{wheel}[cli]", cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    done = run(python.parent / "sdkit", "demo", "--seconds", "3", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["held"]
    assert found["transfers_acknowledged"] > 0
