"""Without the extra `spec`, importing a specification says in one line what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("lacking", ["hypothesis", "pytest"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(lacking: str) -> None:
    code = f"import sys; sys.modules[{lacking!r}] = None\nimport sdkit.spec.store"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: the specifications need {lacking}, which is not installed: "
        "pip install 'system-design-kit[spec]'"
    )
