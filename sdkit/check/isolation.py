"""Isolation: which anomalies occurred, and so which levels the history satisfies.

A level of isolation is a promise about what does *not* happen. Adya ("Weak
Consistency", MIT 1999; with Liskov and O'Neil, ICDE 2000) says it without a word of
locks: as circles in the graph of who must come before whom (`dependencies`), by the
kinds of edges in them.

    G0               ww only                       two overwrite each other
    G1a, G1b         (no circle, see `versions`)   read what was undone, or half done
    G1c              ww and wr, at least one wr    each saw something of the other
    lost update      one rw, then ww, on one key   read, and wrote over somebody's write
    G-single         one rw, the rest ww and wr    read skew: two keys, two moments
    G-nonadjacent    several rw, never two in      two readers see two writes in
                     a row                         different orders (long fork)
    G2-item          two rw in a row               write skew
    G2               the same, one rw from a scan  write skew with a phantom
    no order         any, if the order of writes   each order of the writes has a circle,
                     is not known                  though not always the same one

Each circle has one name, the first that fits. Which level forbids what: `levels`.

What the verdict is worth
    * An anomaly that is named happened, or one that stands above it in the list.
    * If the order of all versions is known (`Verdict.complete`), a level without
      anomaly is satisfied: for "serializable" there is an order, and it was found.
      If not, no anomaly was found, and that is all that is said.
    * The levels are exact. The names are, down to the first one found that is a circle;
      beside it not all of those below it need be found, because to look at every
      circle would take for ever. What is named is there.

Elle (https://github.com/jepsen-io/elle) does this for Jepsen, and Fekete et al.
("Making Snapshot Isolation Serializable", TODS 2005) found what the two rw in a row
mean: the transaction in their middle is the pivot of every write skew.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Literal

from sdkit.arguments import check_function
from sdkit.check.anomalies import Anomalies, Anomaly
from sdkit.check.dependencies import Dependencies
from sdkit.check.explain_circles import MEANINGS, reasons
from sdkit.check.levels import LEVELS, check_level, forbids
from sdkit.check.lines import printable, shown
from sdkit.check.transactions import Transaction
from sdkit.check.versions import Observed
from sdkit.errors import InvalidArgument

Result = Literal["holds", "violated", "no anomaly found"]


@dataclass(slots=True)
class Verdict:
    """What is known of a history of transactions.

    Args:
        anomalies: those that occurred, by name, each with the smallest example that was found.
        transactions: how many counted: committed, or of unknown outcome and seen by others.
        complete: is the order of all versions known, so that what was not found is not there?
        unordered: the keys for which it is not.
        real_time: was real time asked for?
    """

    anomalies: dict[str, Anomaly]
    transactions: int
    complete: bool
    unordered: list[Hashable]
    real_time: bool
    observed: Observed

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels none of whose anomalies was found; satisfied, if ``complete``."""
        satisfied = []
        for level, forbidden in LEVELS.items():
            if any(name in self.anomalies for name in forbidden) or not self._is_asked(level):
                break
            satisfied.append(level)
        return tuple(satisfied)

    def result(self, level: str) -> Result:
        """Does the history satisfy ``level``?

        Raises:
            InvalidArgument: there is no such level, or real time was not asked for.
        """
        check_level(level)
        if not self._is_asked(level):
            raise InvalidArgument(f"{level} needs real_time=True", level=level)
        if level not in self.levels:
            return "violated"
        return "holds" if self.complete else "no anomaly found"

    def explain(self) -> str:
        """The verdict, and each anomaly's smallest example. `sdkit.check.page` draws the same."""
        lines = [self.summary]
        for name, anomaly in self.anomalies.items():
            lines += ["", f"{name}, which {forbids(name)} forbids: {MEANINGS[name]}"]
            lines += [f"    {line}" for line in reasons(self.observed, anomaly)]
        return printable("\n".join(lines))

    @property
    def summary(self) -> str:
        """One sentence: which levels hold, or what could not be known."""
        levels = self.levels
        best = levels[-1] if levels else ""
        count = f"{self.transactions:,} transaction{'s' * (self.transactions != 1)}"
        broken = next((level for level in LEVELS if level not in levels), "")
        if not self.real_time and broken == "strict serializable":
            broken = ""
        if self.complete:
            holds = f"{best} holds" if best else "no level holds"
            return f"{count}: {holds}" + (f", {broken} does not" if broken and best else "")
        keys = ", ".join(shown(key) for key in self.unordered[:3])
        more = ", ..." if len(self.unordered) > 3 else ""
        found = f"{broken} is violated; " if broken else ""
        rest = f"no anomaly found that {best} forbids" if best else "nothing is left to hold"
        return (
            f"{count}: {found}{rest}. That is no proof: the order of writes is not known for "
            f"{len(self.unordered):,} of the keys ({keys}{more}); record the positions of commits"
        )

    def _is_asked(self, level: str) -> bool:
        return self.real_time or level != "strict serializable"


def check(
    transactions: Iterable[Transaction],
    *,
    real_time: bool = False,
    progress: Callable[[str], None] = lambda stage: None,
    observed: type[Observed] = Observed,
    dependencies: type[Dependencies] = Dependencies,
    anomalies: type[Anomalies] = Anomalies,
) -> Verdict:
    """Find the anomalies in a history.

    Args:
        transactions: all that ran, aborted ones too: without them, what they wrote looks like
            something that nobody wrote.
        real_time: also hold that what was over before another began comes before it.
        progress: called with what is being done.
        observed, dependencies, anomalies: the three steps; variants for tests.

    Raises:
        MalformedHistory: it cannot be checked, such as when a value is written twice.

    Takes a time and memory that grow with the number of transactions and reads, and with its
    square only for the few thousand that `cycles.Reaching` looks at together.
    """
    check_function("progress", progress, asynchronous=False)
    progress("putting reads to writes")
    seen = observed(transactions)
    progress("who comes before whom")
    found = anomalies(seen, dependencies(seen, real_time=real_time), progress).found()
    return Verdict(found, sum(seen.counts), not seen.unordered, seen.unordered, real_time, seen)
