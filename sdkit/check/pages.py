"""Pages: a verdict as one file of HTML, whichever checker gave it.

A verdict does not know its page; the page is a function of the verdict. So the checkers
are read without a line about drawing.
"""

from __future__ import annotations

from sdkit.check import isolation, linearizability
from sdkit.check.page_of_calls import page_of_calls
from sdkit.check.page_of_transactions import page_of_transactions
from sdkit.errors import InvalidArgument

Verdict = linearizability.Verdict | isolation.Verdict


def page(verdict: Verdict, title: str = "history") -> str:
    """The page of ``verdict``, which needs nothing else: calls as bars, or circles as pictures.

    Raises:
        InvalidArgument: it is no verdict.
    """
    match verdict:
        case linearizability.Verdict():
            return page_of_calls(verdict, title)
        case isolation.Verdict():
            return page_of_transactions(verdict, title)
    raise InvalidArgument(f"a page is drawn of a verdict, not of a {type(verdict).__name__}")
