"""Sequence diagrams: a recorded run as Mermaid text, for the pages in ``docs/``.

Any event that says ``source`` and ``target`` is an arrow, any other is a note
over its host:

    event("rpc.send", source="client", target="db", label="get balance")

A picture drawn by hand is out of date on the day the code changes. These are
drawn by ``make pictures`` from a run of the code, and a test compares.

Mermaid lays out no more than some forty arrows in a readable way, so
`SequenceDiagram` refuses to pretend: past ``arrows_max`` it says how many it
left out. Syntax: https://mermaid.js.org/syntax/sequenceDiagram.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sdkit.arguments import check_between, check_function, shown
from sdkit.errors import InvalidArgument
from sdkit.trace.record import Record

# Words between single spaces or dots: a dash may be the beginning of an arrow.
PLAIN: Final = re.compile(r"\w+([ .]\w+)*")
MADE_UP: Final = re.compile(r"p\d+")
# Words with which Mermaid begins a line, or goes on in one.
KEYWORDS: Final = frozenset(
    re.findall(
        r"\w+",
        "activate actor alt and as autonumber box break create critical deactivate "
        "destroy else end left link links loop note opt option over par par_over "
        "participant properties rect right sequencediagram title ",
    )
)
ARROWS_MAX: Final = 10_000


class SequenceDiagram:
    """A listener that draws.

    Args:
        label: what to write beside a record; None leaves the record out.
        arrows_max: how many arrows and notes to draw at most, 1 to 10,000.

    Raises:
        InvalidArgument: ``label`` is no plain function, or ``arrows_max`` out of range; or, when
            a record comes, ``label`` has returned something that is no text.
    """

    def __init__(self, label: Callable[[Record], str | None], *, arrows_max: int = 40) -> None:
        check_function("label", label, asynchronous=False)
        check_between("arrows_max", arrows_max, 1, ARROWS_MAX)
        self._label = label
        self._arrows_max = arrows_max
        self._participants: dict[str, str] = {}  # name to identifier, in order of appearance
        self._lines: list[str] = []
        self._left_out = 0

    def __call__(self, record: Record) -> None:
        label = self._label(record)
        if label is None:
            return
        if not isinstance(label, str):
            raise InvalidArgument(f"label returned {shown(label)}; it must be text, or None")
        if len(self._lines) >= self._arrows_max:
            self._left_out += 1
            return
        source = self._participant(str(record.fields.get("source", record.host)))
        target = record.fields.get("target")
        if target is None:
            self._lines.append(f"    Note over {source}: {_escaped(label)}")
        else:
            other = self._participant(str(target))
            self._lines.append(f"    {source}->>{other}: {_escaped(label)}")

    def text(self) -> str:
        """The diagram so far, without the fence around it."""
        lines = ["sequenceDiagram"]
        for name, identifier in self._participants.items():
            alias = "" if name == identifier else f" as {_escaped(name)}"
            lines.append(f"    participant {identifier}{alias}")
        lines += self._lines
        if self._left_out:
            first = next(iter(self._participants.values()))
            lines.append(f"    Note over {first}: {self._left_out} more left out")
        return "\n".join(lines) + "\n"

    def _participant(self, name: str) -> str:
        """The name, or a made-up one if Mermaid's grammar has other plans for it."""
        if name not in self._participants:
            plain = PLAIN.fullmatch(name) and not MADE_UP.fullmatch(name)
            if not plain or not KEYWORDS.isdisjoint(re.split("[ .]", name.lower())):
                self._participants[name] = f"p{len(self._participants)}"
            else:
                self._participants[name] = name
        return self._participants[name]


def _escaped(label: str) -> str:
    # A semicolon or a hash ends a statement in Mermaid, and so does any end of a line.
    return "<br/>".join(label.translate({ord("#"): "#35;", ord(";"): "#59;"}).splitlines())
