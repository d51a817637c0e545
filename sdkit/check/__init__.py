"""Check: could this have happened? Verdicts about what concurrent clients saw.

A test that looks at the end of a run misses what happened in its middle: the read
that was stale for a moment, the lock that two held, the sum that an auditor saw
wrong. So clients write down what they did and saw, and a checker says whether any
correct system could have answered so. Two questions, two checkers:

    history.jsonl ──▶ linearizability   single calls: does it behave like one plain
                                        register, map, queue, lock, log, counter, set?
                 └──▶ isolation         transactions: which anomalies occurred, and so
                                        which levels of isolation hold?

Both take plain data, from any system in any language. Both say no more than they know:
"undecided" when the budget is used up, "no anomaly found" where the order of writes is
not known. Both give the smallest reason that they find, as text and as a page.

Read in this order
    smallest          the idea alone, and what it gets wrong
    lines             JSON lines, and errors that say which line and why
    history           calls: who, what, when, and how they ended
    model             what a thing would do, one call at a time
    locks             a mutex, and a lock with fencing tokens
    models            register, map, queue, log, counter, set
    search            is there an order of the calls? Wing, Gong and Lowe's search
    hints             why registers are easy: what the rest of a history still needs
    reason            a violation told with as few calls as it takes
    linearizability   the checker: parts, budget, verdict
    transactions      what each transaction read and wrote
    versions          which write each read saw
    orders            the order of the writes of a key, as far as it is known
    dependencies      who must come before whom, and because of what
    cycles            questions about graphs
    forced            what every order of the writes has in common
    anomalies         circles by their names, the smallest first
    levels            the ladder of levels, by what each forbids
    isolation         the checker: anomalies, levels, verdict
    explain_calls     calls that contradict each other, as text
    explain_circles   a circle of transactions, as text
    markup            the parts that pages are made of
    page_of_calls     a verdict about calls as a page, a bar for each
    page_of_transactions   the same for circles
    pages             `page`: whichever of the two fits

What they follow: Wing and Gong 1993, Lowe 2017, Gibbons and Korach 1997 for single
calls; Adya 1999, Cerone and Gotsman 2016, Elle 2020 for transactions. Porcupine and
Elle are the tools that people use; `docs/checkers.md` says how these two differ.
"""

from . import isolation, linearizability, transactions
from .history import History, Operation, Recorder
from .levels import LEVELS
from .lines import MalformedHistory
from .locks import FencedLock, Mutex
from .model import IMPOSSIBLE, Model
from .models import (
    MODELS,
    Counter,
    Log,
    Map,
    Queue,
    Register,
    Set,
)
from .pages import page
from .transactions import Transaction

__all__ = [
    "IMPOSSIBLE",
    "LEVELS",
    "MODELS",
    "Counter",
    "FencedLock",
    "History",
    "Log",
    "MalformedHistory",
    "Map",
    "Model",
    "Mutex",
    "Operation",
    "Queue",
    "Recorder",
    "Register",
    "Set",
    "Transaction",
    "isolation",
    "linearizability",
    "page",
    "transactions",
]
