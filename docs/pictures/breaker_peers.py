"""The table of ``docs/breaker.md``: the specification, pointed at other people's breakers."""

from __future__ import annotations

from importlib.metadata import version

from tests.breaker.peers import PEERS, verdicts

SIGNS = {"kept": "yes", "fails": "**no**", "cannot be told": "·"}


def draw() -> str:
    """A row for each property; every cell was tried just now."""
    found = {peer: verdicts(peer) for peer in PEERS}
    heads = [f"{peer} {version(peer)}" for peer in PEERS]
    lines = ["| " + " | ".join(["", *heads]) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in next(iter(found.values())):
        sentence = name.removeprefix("test_").replace("_", " ")
        cells = [SIGNS[found[peer][name]] for peer in PEERS]
        lines.append("| " + " | ".join([sentence, *cells]) + " |")
    return "\n".join(lines) + "\n"
