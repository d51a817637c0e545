"""Checkers that each forget one thing, with the property that has to notice."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from sdkit.check.anomalies import Anomalies
from sdkit.check.cycles import Edge, Why
from sdkit.check.dependencies import Dependencies
from sdkit.check.hints import Hints
from sdkit.check.history import Operation
from sdkit.check.locks import FencedLock, Mutex
from sdkit.check.model import IMPOSSIBLE, Model, State
from sdkit.check.models import Counter, Log, Map, Queue, Register, Set
from sdkit.check.orders import UNBORN, Versions
from sdkit.check.search import Search
from sdkit.check.transactions import Access, Transaction
from sdkit.check.versions import Observed

# ── the search ───────────────────────────────────────────────────────────────


class ForgetsRealTime(Search):
    """Any order will do, as if all calls had begun at once."""

    def starts(self) -> list[int]:
        return [min((each.start for each in self.operations), default=0)] * len(self.operations)


class ForgetsTheOrderInAProcess(Search):
    """Where the clock stands still, a process's second call may come before its first."""

    def follows(self, number: int) -> bool:
        return True


class RemembersNoState(Search):
    """The same calls in another order led to another state; it takes them for the same."""

    def memory(self, first: int, beyond: int, state: State) -> Hashable:
        return first, beyond, self._lost_placed


class RemembersNoLostCalls(Search):
    """Whether a lost call has happened already makes no difference to it."""

    def memory(self, first: int, beyond: int, state: State) -> Hashable:
        return first, beyond, state


class TakesLostForFailed(Search):
    """What had no answer did not happen."""

    def lost_choices(self, state: State, soonest: float) -> list[tuple[int, State]]:
        return []


class TakesLostForDone(Search):
    """What had no answer happened, sooner or later."""

    def is_complete(self) -> bool:
        return super().is_complete() and all(self._is_placed[number] for number in self._lost)


class PlacesTheFirstThatFits(Search):
    """Never asks whether another call could have come first."""

    def __init__(
        self, model: Model, operations: Sequence[Operation], *, hinted: bool = True
    ) -> None:
        super().__init__(model, operations, hinted=hinted)
        self._changes = [False] * len(operations)
        self._stack[0].choices = self._choices(model.initial)


class NobodyWantsAnything(Search):
    """Never turns back, since no value is wanted any more."""

    class hints(Hints):  # noqa: N801
        def is_wanted(self, state: State) -> bool:
            return False

        def is_useless(self, number: int) -> bool:
            return super().is_wanted(self._makes[number]) is False


class NobodyMakesItAgain(Search):
    """A value that is gone is gone, though another write of it is still to come."""

    class hints(Hints):  # noqa: N801
        def is_dead_end(self, before: State, after: State) -> bool:
            return before != after and self._asked[before] > 0


class NobodyWishes(Search):
    """A lost compare-and-set needs no value that it could find."""

    class hints(Hints):  # noqa: N801
        def is_wanted(self, state: State) -> bool:
            return self._lookers > 0 or self._asked[state] > 0


class SearchMutant(NamedTuple):
    search: type[Search]
    property: str


UNIQUE = "test_it_knows_registers_whose_values_are_unique"
SEARCHES = [
    SearchMutant(ForgetsRealTime, "test_it_knows_registers"),
    SearchMutant(ForgetsTheOrderInAProcess, "test_it_knows_queues"),
    SearchMutant(RemembersNoState, "test_it_knows_queues"),
    SearchMutant(RemembersNoLostCalls, "test_it_tells_lost_calls_apart"),
    SearchMutant(TakesLostForFailed, "test_it_knows_maps"),
    SearchMutant(TakesLostForDone, "test_it_knows_mutexes"),
    SearchMutant(PlacesTheFirstThatFits, "test_it_knows_sets"),
    SearchMutant(NobodyWantsAnything, UNIQUE),
    SearchMutant(NobodyMakesItAgain, "test_it_knows_registers"),
    SearchMutant(NobodyWishes, "test_it_leaves_a_value_to_a_lost_call_that_needs_it"),
]


# ── the models ───────────────────────────────────────────────────────────────


class AnyCompareAndSetMayFail(Register):
    def step(self, state: State, operation: Operation) -> State:
        after = super().step(state, operation)
        return state if operation.op == "cas" and self.looks(operation) else after


class DeletesNothingGladly(Map):
    """Whether a deleted key was there is not looked at."""

    def step(self, state: State, operation: Operation) -> State:
        return None if operation.op == "delete" else super().step(state, operation)


class LastInFirstOut(Queue):
    def step(self, state: State, operation: Operation) -> State:
        assert isinstance(state, tuple)
        after = super().step(state[::-1], operation)
        if operation.op == "enqueue" or not isinstance(after, tuple):
            return super().step(state, operation) if operation.op == "enqueue" else after
        return after[::-1]


class AnybodyReleases(Mutex):
    def step(self, state: State, operation: Operation) -> State:
        return None if operation.op == "release" else super().step(state, operation)


class HandsOutATokenTwice(FencedLock):
    def step(self, state: State, operation: Operation) -> State:
        assert isinstance(state, tuple)
        held, greatest = state
        assert isinstance(greatest, int)
        if operation.op == "acquire" and operation.result == greatest and held is None:
            return greatest, greatest
        return super().step(state, operation)


class KnowsNoOffsets(Log):
    def step(self, state: State, operation: Operation) -> State:
        if operation.op == "append":
            return super().step(state, replace(operation, result=None))
        return super().step(state, operation)


class AddsWithoutAnswer(Counter):
    def step(self, state: State, operation: Operation) -> State:
        if operation.op == "add":
            return super().step(state, replace(operation, result=None))
        return super().step(state, operation)


class ReadsHalfASet(Set):
    """Elements that a read left out are not missed."""

    def step(self, state: State, operation: Operation) -> State:
        if operation.op == "read":
            assert isinstance(operation.result, tuple)
            assert isinstance(state, frozenset)
            return state if set(operation.result) <= state else IMPOSSIBLE
        return super().step(state, operation)


class ModelMutant(NamedTuple):
    model: type[Model]
    property: str


MODELS = [
    ModelMutant(AnyCompareAndSetMayFail, "test_it_knows_registers"),
    ModelMutant(DeletesNothingGladly, "test_it_knows_maps"),
    ModelMutant(LastInFirstOut, "test_it_knows_queues"),
    ModelMutant(AnybodyReleases, "test_it_knows_mutexes"),
    ModelMutant(HandsOutATokenTwice, "test_it_knows_fenced_locks"),
    ModelMutant(KnowsNoOffsets, "test_it_knows_logs"),
    ModelMutant(AddsWithoutAnswer, "test_it_knows_counters"),
    ModelMutant(ReadsHalfASet, "test_it_knows_sets"),
]


# ── isolation ────────────────────────────────────────────────────────────────


class CountsAborted(Observed):
    """What was undone counts as done."""

    def who_counts(self) -> list[bool]:
        return [True] * len(self.transactions)


class InstallsEveryWrite(Observed):
    """A value that was replaced before the commit is as good as the last one."""

    def installs(self, access: Access, last: Access) -> bool:
        return True


class ClaimsToKnowTheOrder(Observed):
    """What it has not found is not there, positions or no."""

    def keys_in_no_order(self) -> list[Hashable]:
        return []


class TakesTheOrderOfLines(Observed):
    """Who stands further down in the file has committed later."""

    def __init__(self, transactions: Sequence[Transaction]) -> None:
        super().__init__(
            replace(each, position=number if each.status == "committed" else None)
            for number, each in enumerate(transactions)
        )


class DropsReadWrite(Dependencies):
    """Who has not seen a write is not before it."""

    def add(
        self, source: int, target: int, why: Why, key: Hashable, versions: Versions, known: int
    ) -> Edge:
        if why is Why.READ_WRITE:
            return Edge(source, target, why)
        return super().add(source, target, why, key, versions, known)


class DropsScans(Dependencies):
    """Nor is a scan that has not seen it."""

    def add(
        self, source: int, target: int, why: Why, key: Hashable, versions: Versions, known: int
    ) -> Edge:
        if why is Why.PREDICATE_READ_WRITE:
            return Edge(source, target, why)
        return super().add(source, target, why, key, versions, known)


class TakesScansForReads(Dependencies):
    """G2 and G2-item are all the same."""

    def add(
        self, source: int, target: int, why: Why, key: Hashable, versions: Versions, known: int
    ) -> Edge:
        why = Why.READ_WRITE if why is Why.PREDICATE_READ_WRITE else why
        return super().add(source, target, why, key, versions, known)


class SeesNothingUnborn(Dependencies):
    """A read of a key that was not there yet says nothing."""

    def add(
        self, source: int, target: int, why: Why, key: Hashable, versions: Versions, known: int
    ) -> Edge:
        if known == UNBORN:
            return Edge(source, target, why)
        return super().add(source, target, why, key, versions, known)


class MissesWriteCycles(Anomalies):
    def find_write_cycles(self) -> None:
        pass


class MissesInformationCycles(Anomalies):
    def find_information_cycles(self) -> None:
        pass


class MissesLostUpdates(Anomalies):
    def find_lost_updates(self) -> None:
        pass


class MissesReadSkew(Anomalies):
    def find_read_skew(self) -> None:
        pass


class MissesPivots(Anomalies):
    def _find_pivots(self, inside: Sequence[Edge]) -> None:
        pass


class MissesLongForks(Anomalies):
    def _find_nonadjacent(self, inside: Sequence[Edge]) -> None:
        pass


class MissesWhatIsForced(Anomalies):
    """Each order of the writes has a circle, but not always the same one."""

    def find_forced_circle(self) -> None:
        pass


class SeesOnlyReadSkew(Anomalies):
    """A circle that is neither read skew nor a lost update is none."""

    def find_forced_circle(self) -> None:
        pass

    def find_write_skew(self) -> None:
        pass


class ForgetsPositions(Observed):
    """One writer without a position makes those of the others worthless."""

    def _positions(self, key: Hashable, versions: Versions) -> dict[int, int | None]:
        positions = super()._positions(key, versions)
        return dict.fromkeys(positions) if None in positions.values() else positions


class IsolationMutant(NamedTuple):
    step: type[Observed] | type[Dependencies] | type[Anomalies]
    property: str


FINDS = "test_it_finds_what_the_definitions_say"
CLAIMS = "test_without_positions_it_claims_only_what_every_order_shows"
FACTS = "test_beside_unknown_outcomes_known_positions_stay_facts"
GAPS = "test_it_drops_no_circle_where_the_order_of_writes_has_a_gap"
ISOLATION = [
    IsolationMutant(CountsAborted, FINDS),
    IsolationMutant(InstallsEveryWrite, FINDS),
    IsolationMutant(ClaimsToKnowTheOrder, CLAIMS),
    IsolationMutant(TakesTheOrderOfLines, CLAIMS),
    IsolationMutant(ForgetsPositions, FACTS),
    IsolationMutant(MissesWhatIsForced, GAPS),
    IsolationMutant(SeesOnlyReadSkew, GAPS),
    IsolationMutant(MissesLongForks, "test_it_knows_a_long_fork"),
    *(
        IsolationMutant(step, FINDS)
        for step in (
            DropsReadWrite,
            DropsScans,
            TakesScansForReads,
            SeesNothingUnborn,
            MissesWriteCycles,
            MissesInformationCycles,
            MissesLostUpdates,
            MissesReadSkew,
            MissesPivots,
        )
    ),
]
