"""Markup: what both pages are made of. One template, no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from sdkit.check.lines import printable

LETTER: Final = 7.3  # the width of one, in 13 px text, about


def filled(title: str, body: Sequence[str]) -> str:
    """The page with that title; ``body`` is HTML already."""
    from importlib import resources  # slow to load, and most verdicts are drawn by nobody

    template = resources.files("sdkit.check").joinpath("page.html").read_text("utf-8")
    # The body last: what a history says must not be taken for a place in the template.
    page = template.replace("@title@", escape(title)).replace("@body@", "\n".join(body))
    return printable(page)


def legend(samples: Sequence[tuple[str, str]]) -> str:
    """What each mark means: pairs of an SVG element and its meaning."""
    spans = [
        f'<span><svg width="34" height="14">{mark}</svg>{meaning}</span>'
        for mark, meaning in samples
    ]
    return f'<p class="legend dim">{"".join(spans)}</p>'


def short(text: str, room: int) -> str:
    """As much of it as there is room for, in letters."""
    if len(text) <= room:
        return text
    return "" if room < 3 else text[: room - 1] + "…"
