"""Page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdkit.check import isolation, linearizability


def order_page(verdict: linearizability.Verdict, title: str) -> str:
    """The page."""
    raise NotImplementedError


def isolation_page(verdict: isolation.Verdict, title: str) -> str:
    """The page."""
    raise NotImplementedError
