"""The command ``sdkit`` in a process of its own, as a person would type it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def sdkit(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sdkit.cli.start", *arguments],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
