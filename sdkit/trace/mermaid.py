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

from sdkit.trace.record import Record


class SequenceDiagram:
    """A listener that draws.

    Args:
        label: what to write beside a record; None leaves the record out.
        arrows_max: how many arrows and notes to draw at most.
    """

    def __init__(self, label: Callable[[Record], str | None], *, arrows_max: int = 40) -> None:
        self._label = label
        self._arrows_max = arrows_max
        self._participants: dict[str, str] = {}  # name to identifier, in order of appearance
        self._lines: list[str] = []
        self._left_out = 0

    def __call__(self, record: Record) -> None:
        label = self._label(record)
        if label is None:
            return
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
            plain = re.fullmatch(r"\w[\w. -]*", name) and name.lower() != "end"
            self._participants[name] = name if plain else f"p{len(self._participants)}"
        return self._participants[name]


def _escaped(label: str) -> str:
    # A semicolon or a hash ends a statement in Mermaid.
    return label.translate({ord("#"): "#35;", ord(";"): "#59;", ord("\n"): "<br/>"})
