"""Pages: run what the documentation shows, and compare.

A ```` ```console ```` block is a shell session: lines that begin with ``$ `` are
commands (a trailing backslash goes on in the next line), what stands below each
is its output. All blocks of a page run in one fresh directory, in order, with
``sdkit``, ``python`` and the project's ``examples/`` at hand. In the expected
output ``...`` stands for anything within a line, and a line of its own that is
only ``...`` for any number of lines. A block opened with ```` ```console no-run ````
is shown only; so is a page's right to have one long example that CI runs elsewhere.

A ```` ```session ```` block is what somebody types at ``sdkit shell`` and the answers; one
opened with ```` ```session locking ```` at ``sdkit shell --serializable locking``. Each is
a store of its own, in virtual time.

A ```` ```python ```` block of a page runs as a program, each in a process of its own
(blocks that say ``no-run`` are shown only).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sdkit.store import StoreServerConfig
from tests.cli.typed import answers

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(console|python|session)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    language: str
    options: str
    text: str
    line: int


@dataclass
class Step:
    command: str
    expected: list[str]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2].strip(), match[3], text[: match.start()].count("\n") + 1)
        for match in FENCE.finditer(text)
        if "no-run" not in match[2]
    ]


def steps(block: Block) -> list[Step]:
    found: list[Step] = []
    continued = False
    for line in block.text.splitlines():
        if continued:
            found[-1].command += "\n" + line
        elif line.startswith("$ "):
            found.append(Step(line[2:], []))
        elif found:
            found[-1].expected.append(line)
        continued = line.endswith("\\") and not found[-1].expected
    return found


def run_page(page: Path, directory: Path) -> None:
    """Run every block of ``page`` in ``directory``; raise AssertionError where it is not true."""
    examples = directory / "examples"
    if not examples.exists():
        examples.symlink_to(ROOT / "examples")
    for block in blocks(page):
        if block.language == "python":
            done = shell([sys.executable, "-c", block.text], directory)
            assert done.returncode == 0, f"{page.name}:{block.line}\n{done.stdout}"
            continue
        if block.language == "session":
            check(
                f"{page.name}:{block.line}", block.text, answers(block.text, CONFIGS[block.options])
            )
            continue
        for step in steps(block):
            done = shell(["bash", "-c", step.command], directory)
            expected = "\n".join(step.expected)
            check(f"{page.name}:{block.line}: $ {step.command}", expected, done.stdout)


CONFIGS = {
    "": StoreServerConfig(),
    "locking": StoreServerConfig(serializable="locking"),
}


def check(where: str, expected: str, output: str) -> None:
    got = [line.rstrip() for line in output.rstrip("\n").split("\n")]
    wanted = [line.rstrip() for line in expected.rstrip("\n").split("\n")]
    assert re.fullmatch(pattern(wanted), "\n".join(got) + "\n"), "\n".join(
        [where, "--- the page says", *wanted, "--- the command says", *got]
    )


def shell(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment.update(COLUMNS="100", NO_COLOR="1", TERM="dumb", PYTHONPATH=str(ROOT))
    return subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def pattern(lines: list[str]) -> str:
    parts = []
    for line in lines:
        if line.strip() == "...":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            parts.append(r"[^\n]*?".join(re.escape(part) for part in line.split("...")) + r"\n")
    return "".join(parts)
