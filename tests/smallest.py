"""The promise of every ``smallest.py``: it runs, and it fails exactly what its lesson lists."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import unittest
from pathlib import Path
from types import ModuleType

from hypothesis import HealthCheck, Phase, settings

CODE_LINES_MAX = 120
RAFT_CODE_LINES_MAX = 200


def failed(spec: type[unittest.TestCase], examples: int = 100) -> set[str]:
    """Names of the properties of ``spec`` that its subject fails."""
    search = settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    names = set()
    for name in unittest.TestLoader().getTestCaseNames(spec):
        if hasattr(getattr(spec, name), "hypothesis"):
            setattr(spec, name, search(getattr(spec, name)))
        result = unittest.TestResult()
        spec(name).run(result)
        if not result.wasSuccessful():
            names.add(name)
    return names


def assert_it_is_a_first_lesson(module: ModuleType) -> None:
    """It is short, needs the standard library only, runs, and prints what its lesson shows.

    Each number of its list names a file of the room, in backticks.
    """
    assert module.__file__ is not None
    path = Path(module.__file__)
    lesson = module.__doc__ or ""
    text = path.read_text(encoding="utf-8")
    most = RAFT_CODE_LINES_MAX if path.parent.name == "raft" else CODE_LINES_MAX
    assert lines_of_code(text) <= most, lines_of_code(text)
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names, name
    ran = subprocess.run(
        [sys.executable, "-m", module.__name__],
        cwd=path.parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    shown = [line.strip() for line in lesson.splitlines()]
    for line in ran.stdout.splitlines():
        assert line.strip() in shown, f"its lesson does not show: {line}"
    wrongs = re.split(r"^    \d+\. ", lesson.split("What it gets wrong")[1], flags=re.MULTILINE)[1:]
    assert wrongs
    files = {other.stem for other in path.parent.glob("*.py")}
    for number, wrong in enumerate(wrongs, 1):
        assert set(re.findall(r"`([a-z_]+)", wrong)) & files, f"{number} names no file of the room"


def lines_of_code(text: str) -> int:
    """Lines with code on them: without docstrings, comments and blank lines."""
    strings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    silent = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - strings)
