"""Specification: what a checker of histories promises, for checkers of your own too.

    TestCalls = calls(decide)          decide(model, operations) -> "linearizable", ...
    TestTransactions = transactions(judge)     judge(history) -> names, complete

The oracle tries everything (`check_oracle`), on histories of a few calls: random ones
that are mostly right, with an answer changed here and there, clocks so coarse that
times are equal, calls that failed and calls of which nobody knows the outcome.

Two ways to be wrong are checked apart, since a checker that cries wolf and one that
sleeps are different failures: no verdict against a history that could have happened,
and none for one that could not.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import replace
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from sdkit.check.history import Operation
from sdkit.check.levels import LEVELS
from sdkit.check.lines import Flag
from sdkit.check.transactions import Transaction
from sdkit.spec import check_oracle as oracle

EXAMPLES: Final = 120  # of each model
CALLS_MAX: Final = 6
TRANSACTIONS_MAX: Final = 4

Decide = Callable[[str, Sequence[Operation]], str]
Judge = Callable[[Sequence[Transaction]], tuple[Collection[str], bool]]


# ── calls ────────────────────────────────────────────────────────────────────

VALUES: Final = (1, 2)
ARGUMENTS: Final[dict[tuple[str, str], tuple[Hashable, ...]]] = {
    ("register", "write"): VALUES,
    ("register", "cas"): ((1, 2), (2, 1), (None, 1)),
    ("map", "put"): VALUES,
    ("queue", "enqueue"): VALUES,
    ("fenced-lock", "release"): (1, 2, 3),
    ("fenced-lock", "expire"): (1, 2, 3),
    ("log", "append"): VALUES,
    ("log", "read"): (None, 0, 1),
    ("counter", "add"): (1, 2, -1),
    ("set", "add"): VALUES,
    ("set", "remove"): VALUES,
    ("set", "contains"): VALUES,
}
OPS: Final = {
    "register": ("read", "write", "cas", "write"),
    "map": ("get", "put", "delete"),
    "queue": ("enqueue", "dequeue"),
    "mutex": ("acquire", "release"),
    "fenced-lock": ("acquire", "release", "expire"),
    "log": ("append", "read", "length"),
    "counter": ("add", "read"),
    "set": ("add", "remove", "contains", "read"),
}
WRONG: Final[dict[str, tuple[Hashable, ...]]] = {
    "read": (None, 1, 2, (1,), (2, 1), 0, 3),
    "get": (None, 1, 2),
    "dequeue": (None, 1, 2),
    "acquire": (1, 2, 3),
    "length": (0, 1, 2),
    "append": (0, 1, 2),
    "cas": (Flag.TRUE, Flag.FALSE),
    "delete": (Flag.TRUE, Flag.FALSE, None),
    "release": (Flag.TRUE, Flag.FALSE),
    "contains": (Flag.TRUE, Flag.FALSE),
    "add": (Flag.TRUE, Flag.FALSE, None),
    "remove": (Flag.TRUE, Flag.FALSE, None),
}


@st.composite
def _histories(draw: st.DrawFn, model: str, *, unique: bool = False) -> list[Operation]:
    """Calls with answers that the real thing gave, some of them changed."""
    free = dict.fromkeys(range(3), 0)
    planned: list[tuple[int, Operation]] = []
    for number in range(draw(st.integers(1, CALLS_MAX))):
        process, gap, until, after = draw(_TIMES)
        start = free[process] + gap
        free[process] = start + until + after
        op = draw(st.sampled_from(OPS[model]))
        argument = draw(st.sampled_from(ARGUMENTS.get((model, op), (None,))))
        if unique and op in ("write", "put"):
            argument = 10 + number
        outcome: Any = draw(st.sampled_from(("ok", "ok", "ok", "ok", "info", "fail")))
        key = draw(st.sampled_from(("x", "x", "x", "y")))
        end = None if outcome == "info" else free[process]
        call = Operation(process, op, key, argument, None, outcome, start, end, number + 1)
        planned.append((start + until, call))
    _play(model, [call for _, call in sorted(planned, key=lambda plan: plan[0])], draw)
    operations = sorted((call for _, call in planned), key=lambda call: call.start)
    if draw(st.booleans()):
        wrong = draw(st.sampled_from(operations))
        values = WRONG.get(wrong.op, ())
        if unique and wrong.op in ("read", "get"):
            values = (None, *range(10, 10 + len(operations)))
        if model == "counter":
            values = (0, 1, 2)
        if wrong.op == "read" and model == "set":
            values = ((), (1,), (1, 2))
        if model == "mutex":  # says nothing; so it did what it could not, or the other thing
            wrong.op = draw(st.sampled_from(("acquire", "release")))
            wrong.outcome, wrong.end = "ok", free[wrong.process] if wrong.end is None else wrong.end
        elif wrong.outcome == "ok" and values:
            wrong.result = draw(st.sampled_from(values))
    return operations


_TIMES: Final = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)
)


def _play(model: str, calls: Sequence[Operation], draw: st.DrawFn) -> None:
    """Give each call the answer that the real thing gives."""
    things: dict[Hashable, oracle.Thing] = {}
    for call in calls:
        thing = things.setdefault(call.key, oracle.THINGS[model]())
        if call.outcome == "fail" or (call.outcome == "info" and draw(st.booleans())):
            continue
        try:
            answer = thing.do(call)
        except oracle.Refused:
            if call.outcome == "ok":
                call.outcome = "fail"
            continue
        if call.outcome == "ok":
            call.result = answer


def calls(decide: Decide) -> type[unittest.TestCase]:
    """Build the test case for one checker of linearizability.

    Args:
        decide: given the name of a model and operations, one of the words linearizable,
            not linearizable, undecided. The histories are small: undecided is a failure.
    """

    class CallsSpec(unittest.TestCase):
        def agrees(self, model: str, operations: list[Operation]) -> None:
            expected = oracle.has_an_order(model, operations)
            word = decide(model, [replace(each) for each in operations])
            assert word == ("linearizable" if expected else "not linearizable"), operations

        @given(_histories("register"))
        @settings(max_examples=EXAMPLES)
        def test_it_knows_registers(self, operations: list[Operation]) -> None:
            self.agrees("register", operations)

        @given(_histories("register", unique=True))
        @settings(max_examples=EXAMPLES)
        def test_it_knows_registers_whose_values_are_unique(
            self, operations: list[Operation]
        ) -> None:
            self.agrees("register", operations)

        @given(_histories("map"))
        @settings(max_examples=EXAMPLES)
        def test_it_knows_maps(self, operations: list[Operation]) -> None:
            self.agrees("map", operations)

        @given(_histories("queue"))
        @settings(max_examples=EXAMPLES)
        def test_it_knows_queues(self, operations: list[Operation]) -> None:
            self.agrees("queue", operations)

        @given(_histories("mutex"))
        @settings(max_examples=EXAMPLES)
        def test_it_knows_mutexes(self, operations: list[Operation]) -> None:
            self.agrees("mutex", operations)

        @given(_histories("fenced-lock"))
        @settings(max_examples=EXAMPLES)
        def test_it_knows_fenced_locks(self, operations: list[Operation]) -> None:
            self.agrees("fenced-lock", operations)

        @given(_histories("log"))
        @settings(max_examples=EXAMPLES)
        def test_it_knows_logs(self, operations: list[Operation]) -> None:
            self.agrees("log", operations)

        @given(_histories("counter"))
        @settings(max_examples=EXAMPLES)
        def test_it_knows_counters(self, operations: list[Operation]) -> None:
            self.agrees("counter", operations)

        @given(_histories("set"))
        @settings(max_examples=EXAMPLES)
        def test_it_knows_sets(self, operations: list[Operation]) -> None:
            self.agrees("set", operations)

    return CallsSpec


# ── transactions ─────────────────────────────────────────────────────────────

ALWAYS: Final = {"impossible read", "G0", "G1a", "G1b", "G1c", "lost update"}


@st.composite
def _transactions(draw: st.DrawFn, *, positions: bool) -> list[Transaction]:
    """Register transactions that read what was written before, or nearly so."""
    count = draw(st.integers(2, TRANSACTIONS_MAX))
    keys = ("x", "y")
    writes = [draw(st.lists(st.sampled_from(keys), max_size=3)) for _ in range(count)]
    value = 0
    written: dict[str, list[int | None]] = {key: [None] for key in keys}
    history: list[Transaction] = []
    for number in range(count):
        pairs = []
        for key in writes[number]:
            value += 1
            pairs.append((key, value))
            written[key].append(value)
        status: Any = draw(st.sampled_from(("committed",) * 5 + ("aborted",)))
        history.append(Transaction(number, writes=pairs, status=status))
    places = draw(st.permutations(range(count)))
    for each, place in zip(history, places, strict=True):
        if positions and each.status == "committed":
            each.position = place
        reads = draw(st.lists(st.sampled_from(keys), max_size=3))
        scans = draw(st.lists(st.sampled_from(keys), max_size=2))
        own = {key for key, _ in each.writes}
        each.reads = [(key, draw(_read(written[key], own, key, each))) for key in reads]
        each.predicate_reads = [(key, draw(_read(written[key], own, key, each))) for key in scans]
    return history


def _read(
    values: Sequence[int | None], own: set[str], key: str, each: Transaction
) -> st.SearchStrategy[int | None]:
    mine = [value for name, value in each.writes if name == key]
    foreign = [value for value in values if value not in mine]
    return st.sampled_from([*foreign * 4, 99])


def transactions(judge: Judge) -> type[unittest.TestCase]:
    """Build the test case for one checker of isolation.

    Args:
        judge: given a history of register transactions, the names of the anomalies that it
            finds (`sdkit.check.isolation` has the list), and whether it claims that there
            are no others that a level forbids.
    """

    class TransactionsSpec(unittest.TestCase):
        @given(_transactions(positions=True))
        @settings(max_examples=4 * EXAMPLES)
        def test_it_finds_what_the_definitions_say(self, history: list[Transaction]) -> None:
            names, complete = judge(history)
            (order,) = oracle.orders_of_versions(history)
            found = oracle.arrows(history, order)
            expected = {oracle.name_of(circle) for circle in oracle.circles(found)}
            expected |= oracle.wrong_reads(history)
            assert complete
            # Beside others not all of the rest need be found, and none be made up.
            assert set(names) - {"G-nonadjacent"} <= expected
            assert set(names) & ALWAYS == expected & ALWAYS
            if expected & {"G0", "G1c"}:
                return
            assert ("G-single" in names) == ("G-single" in expected)
            if expected & {"lost update", "G-single"}:
                return
            assert ("G-nonadjacent" in names) == oracle.no_snapshots(found, len(history))
            rest = {"G2-item", "G2"}
            assert set(names) & rest == expected & rest

        @given(_transactions(positions=False))
        @settings(max_examples=2 * EXAMPLES)
        def test_without_positions_it_claims_only_what_every_order_shows(
            self, history: list[Transaction]
        ) -> None:
            names, complete = judge(history)
            broken = _lowest(names)
            orders = [
                {oracle.name_of(circle) for circle in oracle.circles(oracle.arrows(history, order))}
                | oracle.wrong_reads(history)
                for order in oracle.orders_of_versions(history)
            ]
            best = max(_lowest(found) for found in orders)
            # Not every level that no order satisfies is seen, but none is denied wrongly.
            assert broken >= best
            if complete:
                assert broken == best

    return TransactionsSpec


def _lowest(names: Collection[str]) -> int:
    """The number of the lowest level that forbids one of ``names``."""
    return min(
        (
            number
            for number, forbidden in enumerate(LEVELS.values())
            if any(name in names for name in forbidden)
        ),
        default=len(LEVELS),
    )
