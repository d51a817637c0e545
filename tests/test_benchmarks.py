"""What the command of the benchmarks says to those who have not installed what it compares with."""

from __future__ import annotations

import sys

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.__main__ import main


def test_a_peer_that_is_missing_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.hashing", raising=False)
    monkeypatch.setitem(sys.modules, "uhashring", None)  # as if it were not installed
    app = typer.Typer()
    app.command()(main)
    ended = CliRunner().invoke(app, ["hashing"])
    assert ended.exit_code == 2
    assert "uhashring, which is not installed; `make dev`" in " ".join(ended.output.split())
