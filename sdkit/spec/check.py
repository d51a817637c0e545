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
from random import Random
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from sdkit.check.history import Operation
from sdkit.check.levels import LEVELS
from sdkit.check.lines import Flag
from sdkit.check.transactions import Transaction
from sdkit.spec import check_oracle as oracle
from sdkit.spec.running import finished

CALLS_MAX: Final = 6
CHANGED: Final = 0.6
TRANSACTIONS_MAX: Final = 4

BATCH: Final = 10  # histories that are made of one seed
SEEDS: Final = st.integers(0, 2**32)

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


def random_calls(model: str, rng: Random, *, unique: bool = False) -> list[Operation]:
    """Calls with answers that the real thing gave; every second time one of them is changed."""
    free = dict.fromkeys(range(rng.randint(2, 3)), 0)
    planned: list[tuple[int, Operation]] = []
    for number in range(rng.randint(3, CALLS_MAX)):
        process = rng.choice(list(free))
        start = free[process] + rng.randint(0, 2)
        instant = start + rng.randint(0, 3)
        free[process] = instant + rng.randint(0, 3)
        op = rng.choice(OPS[model])
        argument = rng.choice(ARGUMENTS.get((model, op), (None,)))
        if unique and op in ("write", "cas"):
            known = rng.choice((None, 1, 2, 3))
            argument = number + 1 if op == "write" else (known, number + 1)
        outcome: Any = rng.choice(("ok",) * 6 + ("info", "info", "fail"))
        key = rng.choice("xxxxxxy")
        end = None if outcome == "info" else free[process]
        call = Operation(process, op, key, argument, None, outcome, start, end, number + 1)
        planned.append((instant, call))
    _play(model, [call for _, call in sorted(planned, key=lambda plan: plan[0])], rng)
    operations = sorted((call for _, call in planned), key=lambda call: call.start)
    if rng.random() < CHANGED:
        _change(model, operations, rng, unique=unique)
    return operations


def _play(model: str, calls: Sequence[Operation], rng: Random) -> None:
    """Give each call the answer that the real thing gives."""
    things: dict[Hashable, oracle.Thing] = {}
    for call in calls:
        thing = things.setdefault(call.key, oracle.THINGS[model]())
        if call.outcome == "fail" or (call.outcome == "info" and rng.random() < 0.5):
            continue
        try:
            answer = thing.do(call)
        except oracle.Refused:
            if call.outcome == "ok":
                call.outcome = "fail"
            continue
        if call.outcome == "ok":
            call.result = answer


def _change(model: str, operations: list[Operation], rng: Random, *, unique: bool) -> None:
    """Another answer, or, where there is none, another call, or one that could not be done."""
    if model == "mutex":
        wrong = rng.choice(operations)
        wrong.op = rng.choice(("acquire", "release"))
        if wrong.end is not None:
            wrong.outcome = "ok"
        return
    answered = [each for each in operations if each.outcome == "ok" and each.op in WRONG]
    if answered:
        wrong = rng.choice(answered)
        values = WRONG[wrong.op]
        if model == "set" and wrong.op == "read":
            values = ((), (1,), (1, 2))
        elif model == "counter":
            values = (0, 1, 2)
        elif unique and wrong.op == "read":
            values = (None, *range(1, len(operations) + 1))
        wrong.result = rng.choice(values)


def calls(decide: Decide, *, without: Collection[str] = ()) -> type[unittest.TestCase]:
    """Build the test case for one checker of linearizability.

    Args:
        decide: given the name of a model and operations, one of the words linearizable,
            not linearizable, undecided. The histories are small: undecided is a failure.
    """

    class CallsSpec(unittest.TestCase):
        def agrees(self, model: str, seed: int, *, unique: bool = False) -> None:
            rng = Random(seed)
            for _ in range(BATCH):
                operations = random_calls(model, rng, unique=unique)
                expected = oracle.has_an_order(model, operations)
                word = decide(model, [replace(each) for each in operations])
                assert word == ("linearizable" if expected else "not linearizable"), operations

        @given(SEEDS)
        def test_it_knows_registers(self, seed: int) -> None:
            self.agrees("register", seed)

        @given(SEEDS)
        def test_it_knows_registers_whose_values_are_unique(self, seed: int) -> None:
            self.agrees("register", seed, unique=True)

        @given(SEEDS)
        def test_it_knows_maps(self, seed: int) -> None:
            self.agrees("map", seed)

        @given(SEEDS)
        def test_it_knows_queues(self, seed: int) -> None:
            self.agrees("queue", seed)

        @given(SEEDS)
        def test_it_knows_mutexes(self, seed: int) -> None:
            self.agrees("mutex", seed)

        @given(SEEDS)
        def test_it_knows_fenced_locks(self, seed: int) -> None:
            self.agrees("fenced-lock", seed)

        @given(SEEDS)
        def test_it_knows_logs(self, seed: int) -> None:
            self.agrees("log", seed)

        @given(SEEDS)
        def test_it_knows_counters(self, seed: int) -> None:
            self.agrees("counter", seed)

        @given(SEEDS)
        def test_it_knows_sets(self, seed: int) -> None:
            self.agrees("set", seed)

        def test_it_tells_lost_calls_apart(self) -> None:
            """A lost write can happen where a lost compare-and-set cannot."""
            later = [
                _call(2, "read", None, 1, start=2, end=3),
                _call(2, "write", 2, start=4, end=5),
                _call(2, "read", None, 1, start=6, end=7),
            ]
            for cas_start, write_start in ((0, 1), (1, 0)):  # whichever it tries first
                lost = [
                    _call(0, "cas", (None, 1), start=cas_start),
                    _call(1, "write", 1, start=write_start),
                ]
                lost.sort(key=lambda call: call.start)
                assert decide("register", [*lost, *later]) == "linearizable"

        def test_it_leaves_a_value_to_a_lost_call_that_needs_it(self) -> None:
            """The write of 3 fits at once, and would take away what the lost one must find."""
            operations = [
                _call(0, "write", 1, start=0, end=1),
                _call(1, "cas", (1, 2), start=2),
                _call(2, "write", 3, start=2, end=9),
                _call(3, "read", None, 2, start=3, end=10),
            ]
            assert decide("register", operations) == "linearizable"

    return finished(CallsSpec, without, decide=decide)


def _call(
    process: int,
    op: str,
    argument: Hashable,
    result: Hashable = None,
    *,
    start: int,
    end: int | None = None,
) -> Operation:
    outcome: Any = "info" if end is None else "ok"
    return Operation(process, op, "x", argument, result, outcome, start, end)


# ── transactions ─────────────────────────────────────────────────────────────

SERIALIZABLE: Final = list(LEVELS).index("serializable")
ALWAYS: Final = {"impossible read", "G0", "G1a", "G1b", "G1c", "lost update"}


def random_transactions(
    rng: Random, *, positions: bool, unknown: bool = False
) -> list[Transaction]:
    """Register transactions on two or three keys that read whatever was ever written there.

    With ``unknown`` the outcome of some is not known, nor what position they have.
    """
    keys = rng.choice(("xy", "xyz"))
    values: dict[str, list[int | None]] = {key: [None] for key in keys}
    history: list[Transaction] = []
    count = rng.randint(2, TRANSACTIONS_MAX)
    value = 0
    for number in range(count):
        writes = []
        for key in rng.choices(keys, k=rng.choice((0, 1, 1, 2, 2, 3))):
            value += 1
            writes.append((key, value))
            values[key].append(value)
        status: Any = rng.choice(("committed",) * 8 + ("aborted",))
        history.append(Transaction(number, writes=writes, status=status))
    for each, place in zip(history, rng.sample(range(count), count), strict=True):
        if unknown and rng.random() < 0.4:
            each.status = "unknown"
        if positions and each.status == "committed":
            each.position = place
            if rng.random() < 0.3:  # a position for each write may tell another order
                each.writes = [(*pair, rng.randint(0, 99) * 10 + place) for pair in each.writes]
        own = [pair[1] for pair in each.writes]
        for _ in range(rng.randint(0, 3)):
            key = rng.choice(keys)
            seen = rng.choice([value for value in values[key] if value not in own] * 8 + [99])
            if rng.random() < 0.3:
                each.predicate_reads = [*each.predicate_reads, (key, seen)]
            else:
                each.reads = [*each.reads, (key, seen)]
    return history


def entangled_transactions(rng: Random, *, unknown: bool) -> list[Transaction]:
    """Two to four transactions that all read and write the same two keys, without an order.

    With ``unknown`` the outcome of some is not known, and half of the others have positions.
    """
    values: dict[str, list[int | None]] = {"x": [None], "y": [None]}
    history: list[Transaction] = []
    for number in range(rng.randint(2, TRANSACTIONS_MAX)):
        status: Any = "unknown" if unknown and rng.random() < 0.3 else "committed"
        history.append(Transaction(number, status=status))
        for key in rng.choice(("x", "y", "xy", "xy")):
            values[key].append(10 * number + len(values[key]))
            history[-1].writes = [*history[-1].writes, (key, values[key][-1])]
    for each in history:
        own = [value for _, value in each.writes]
        seen = {key: [value for value in values[key] if value not in own] for key in values}
        each.reads = [(key, rng.choice(seen[key])) for key in rng.choice(("x", "y", "xy", ""))]
        if unknown and each.status == "committed" and rng.random() < 0.5:
            each.position = len(history) - int(each.id)
    return history


def transactions(judge: Judge, *, without: Collection[str] = ()) -> type[unittest.TestCase]:
    """Build the test case for one checker of isolation.

    Args:
        judge: given a history of register transactions, the names of the anomalies that it
            finds (`sdkit.check.isolation` has the list), and whether it claims that there
            are no others that a level forbids.
    """

    class TransactionsSpec(unittest.TestCase):
        @given(SEEDS)
        def test_it_finds_what_the_definitions_say(self, seed: int) -> None:
            rng = Random(seed)
            for _ in range(BATCH):
                self.finds(random_transactions(rng, positions=True))

        def finds(self, history: list[Transaction]) -> None:
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

        @given(SEEDS)
        def test_without_positions_it_claims_only_what_every_order_shows(self, seed: int) -> None:
            rng = Random(seed)
            for _ in range(BATCH):
                self.claims(random_transactions(rng, positions=False))

        @given(SEEDS)
        def test_beside_unknown_outcomes_known_positions_stay_facts(self, seed: int) -> None:
            rng = Random(seed)
            for _ in range(BATCH):
                self.claims(random_transactions(rng, positions=True, unknown=True))

        @given(SEEDS)
        def test_it_drops_no_circle_where_the_order_of_writes_has_a_gap(self, seed: int) -> None:
            """Two or three that touch the same keys: is there an order to run them in?"""
            rng = Random(seed)
            for _ in range(BATCH):
                history = entangled_transactions(rng, unknown=rng.random() < 0.5)
                names, _ = judge(history)
                counted = oracle.resolved(history)
                is_serial = not oracle.wrong_reads(counted) and any(
                    not any(oracle.circles(oracle.arrows(counted, order)))
                    for order in oracle.orders_of_versions(counted)
                )
                assert (_lowest(names) > SERIALIZABLE) == is_serial, history

        def claims(self, history: list[Transaction]) -> None:
            names, complete = judge(history)
            history = oracle.resolved(history)
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

        def test_it_knows_a_long_fork(self) -> None:
            """Two see two writes in different orders; each sees one state. Beside a write skew."""
            names, complete = judge(
                [
                    Transaction(1, writes=[("x", 1)], position=1),
                    Transaction(2, writes=[("y", 2)], position=2),
                    Transaction(3, reads=[("x", 1), ("y", None)], position=3),
                    Transaction(4, reads=[("x", None), ("y", 2)], position=4),
                    Transaction(5, reads=[("a", None)], writes=[("b", 3)], position=5),
                    Transaction(6, reads=[("b", None)], writes=[("a", 4)], position=6),
                ]
            )
            assert (set(names), complete) == ({"G-nonadjacent", "G2-item"}, True)

    return finished(TransactionsSpec, without, judge=judge)


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
