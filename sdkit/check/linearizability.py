"""Linearizability: could all this have happened one call at a time?

A replicated, cached, sharded thing is *linearizable* if nobody can tell it from a
plain one: each call seems to take effect at one instant between its beginning and
its end (Herlihy and Wing, "Linearizability", TOPLAS 12(3), 1990). It is what people
expect who have never heard of the word, and what a stale cache, a read from a
follower or a lock that two hold do not give.

    history = History.parse(open("history.jsonl"))
    verdict = check(history, Register())
    print(verdict.explain())

The verdict is one of three words, and none is a guess:

    linearizable        there is such an order
    not linearizable    there is none, of what the history says for certain
    undecided           the budget was used up before either was known

Things to notice
    1. What cannot touch each other is judged apart (`Model.parts`). One part without
       an order is enough for "not linearizable", even if others stay undecided.
    2. The parts take turns, so that a hard one does not keep an easy one waiting.
    3. Calls that failed are left out: they did not happen. What is recorded as failed
       and did happen makes a good system look bad (`sdkit.check.history`).
    4. The budget is counted in steps, so the same history gets the same word
       everywhere; with seconds it depends on the machine.

Porcupine (https://github.com/anishathalye/porcupine) and Knossos do the same for Go
and for Jepsen; both are founded on the papers that `search` names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from sdkit.arguments import check_between, check_function, check_one_of
from sdkit.check.explain_calls import contradiction
from sdkit.check.history import History, Operation, Recorder
from sdkit.check.lines import MalformedHistory, each_of, printable, shown
from sdkit.check.model import Model, check_model
from sdkit.check.reason import Counterexample, counterexample
from sdkit.check.search import Search
from sdkit.errors import InvalidArgument
from sdkit.host import current

Result = Literal["linearizable", "not linearizable", "undecided"]

STEPS: Final = 2_000_000  # half a minute and half a GB at the most
STEPS_MAX: Final = 2**62
SECONDS_MIN: Final = 1e-9
SECONDS_MAX: Final = 1e9
TURN_STEPS: Final = 5_000
OUTCOMES: Final = ("ok", "fail", "info")
SECOND_NS: Final = 1_000_000_000
UNDECIDED_SHOWN: Final = 5


@dataclass(slots=True)
class Verdict:
    """What is known of a history.

    Args:
        result: linearizable, not linearizable, or undecided.
        model: what it was compared with.
        operations: how many calls were judged; failed ones are not.
        parts: how many parts they fell into.
        steps: how many the search took.
        counterexample: if it is not linearizable, the calls that contradict each other.
        undecided: the parts on which the budget ended, as text.
    """

    result: Result
    model: str
    operations: int
    parts: int
    steps: int
    counterexample: Counterexample | None = None
    undecided: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Is it linearizable, for certain?"""
        return self.result == "linearizable"

    def explain(self) -> str:
        """The verdict and its reason, for people. `sdkit.check.page` draws the same."""
        calls = f"{self.operations:,} operation{'s' * (self.operations != 1)} on a {self.model}"
        match self.result:
            case "linearizable":
                return f"linearizable: there is an order for {calls}"
            case "undecided":
                names = [name or "the history" for name in self.undecided]
                more = f" and {len(names) - UNDECIDED_SHOWN} more" * (len(names) > UNDECIDED_SHOWN)
                return (
                    f"undecided: of {calls}, {', '.join(names[:UNDECIDED_SHOWN])}{more} had no "
                    f"verdict when the budget ended, after {self.steps:,} steps"
                )
            case _:
                assert self.counterexample is not None
                return printable("\n".join(contradiction(self.model, self.counterexample)))


def check(
    history: History | Iterable[Operation],
    model: Model,
    *,
    steps: int | None = STEPS,
    seconds: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    search: type[Search] = Search,
) -> Verdict:
    """Is there an order of the calls that ``model`` and the clock allow?

    Args:
        history: of one or many keys; it is not changed.
        model: one of `sdkit.check.models`, or your own.
        steps: the search places at most so many calls; None: as many as it takes.
        seconds: and takes at most so long, on the clock of the host it runs on.
        progress: called now and then with how many parts are decided, and of how many.
        search: how an order is looked for; a variant for tests.

    Raises:
        MalformedHistory: a call that the model does not know, or cannot have been answered.
        InvalidArgument: a budget below 1 step, or of no time; or ``model`` is none.
    """
    check_model(model)
    check_function("progress", progress, asynchronous=False)
    if steps is not None:
        check_between("steps", steps, 1, STEPS_MAX)
    if seconds is not None:
        check_between("seconds", seconds, SECONDS_MIN, SECONDS_MAX)
    operations = _that_count(history, model)
    parts = model.parts(operations)
    budget = _Budget(steps, seconds)
    waiting = deque(
        (name, search(model, of_part))
        for name, of_part in sorted(parts.items(), key=lambda part: len(part[1]))
    )
    taken = 0
    while waiting and not budget.is_over(taken):
        name, one = waiting.popleft()
        before = one.steps
        found = one.run(budget.turn(taken))
        taken += one.steps - before
        if found is False:
            reason = counterexample(model, _label(name), one.operations)
            return Verdict(
                "not linearizable", model.name, len(operations), len(parts), taken, reason
            )
        if found is None:
            waiting.append((name, one))
        progress(len(parts) - len(waiting), len(parts))
    undecided = [_label(name) for name, _ in waiting]
    result: Result = "undecided" if undecided else "linearizable"
    return Verdict(result, model.name, len(operations), len(parts), taken, undecided=undecided)


def _that_count(history: History | Iterable[Operation], model: Model) -> list[Operation]:
    """Without failed calls, and without lost ones that could not have changed anything."""
    if isinstance(history, Recorder):
        raise InvalidArgument("history is a Recorder; give what its history() returns")
    found = history.operations if isinstance(history, History) else history
    kept = []
    calls = [each.checked() for each in each_of(Operation, "history", found)]
    for each in sorted(calls, key=lambda operation: operation.start):
        check_one_of("outcome", each.outcome, OUTCOMES)
        if each.outcome == "ok" and (each.end is None or each.end < each.start):
            raise MalformedHistory(
                f"{each.op} of process {each.process} is ok, began at {each.start} and ended at "
                f"{each.end}; an end cannot be missing, nor come before the beginning",
                line=each.line,
            )
        model.check(each)
        if each.outcome == "ok" or (each.outcome == "info" and model.changes(each)):
            kept.append(each)
    return kept


class _Budget:
    """How much longer the search may go on."""

    def __init__(self, steps: int | None, seconds: float | None) -> None:
        self._steps = steps
        self._clock = current().monotonic_ns
        self._until = None if seconds is None else self._clock() + int(seconds * SECOND_NS)

    def turn(self, taken: int) -> int:
        """How many steps the next part gets."""
        return TURN_STEPS if self._steps is None else min(TURN_STEPS, self._steps - taken)

    def is_over(self, taken: int) -> bool:
        if self._steps is not None and taken >= self._steps:
            return True
        return self._until is not None and self._clock() >= self._until


def _label(part: Hashable) -> str:
    return "" if part is None else shown(part)
