"""A wheel installed without extras in an empty environment runs the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.pages import ROOT


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
def test_a_wheel_without_extras_runs_the_demo(tmp_path: Path) -> None:
    built = run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "-w",
        tmp_path,
        ROOT,
        cwd=tmp_path,
    )
    if built.returncode != 0 and "CI" not in os.environ:
        pytest.skip(f"pip cannot build a wheel on this machine: {built.stderr[-300:]}")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("system_design_kit-*.whl")
    python = tmp_path / "empty" / "bin" / "python"
    venv.create(tmp_path / "empty", with_pip=False)  # our pip serves it, and saves making its own
    installed = run(
        sys.executable, "-m", "pip", "--python", python,
        "install", "--quiet", "--no-compile", wheel, cwd=tmp_path,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    extras = run(python, "-c", "import hypothesis", cwd=tmp_path)
    assert extras.returncode != 0, "the environment was not empty"
    done = run(python.parent / "sdkit", "demo", "--seconds", "3", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["held"]
    assert found["transfers_acknowledged"] > 0
