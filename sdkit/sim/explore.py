"""Explore: many seeds, one run again, and the smallest schedule that still breaks it.

    seeds ──> run ──> held ............................. next seed
                └───> broken ──> shrink ──> the faults without which it would have held

The idea
    A run is a function of its scenario, its seed and its schedule (`run_once`).
    So it can be made again, and changed in one thing: `shrink` leaves faults out,
    as long as the run still breaks the same promise, until none can be spared;
    then it shortens the run. What remains is an explanation.

Things to notice
    1. A fault that is left out changes nothing elsewhere, by construction (every
       link, disk and machine draws from a stream of its own). Without that,
       leaving one out would make a new run, and shrinking would be luck.
    2. "Still broken" means: one of the *same* promises. Otherwise a small run
       that breaks something else would be taken for the cause.
    3. A play that raises has broken a promise too, the one that nothing raises.

After delta debugging (Zeller and Hildebrandt, "Simplifying and isolating
failure-inducing input", 2002): halves first, then one at a time.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sdkit.errors import InvalidArgument
from sdkit.sim.digest import Recorded
from sdkit.sim.faults import Fault, Schedule, draw
from sdkit.sim.injection import Injection
from sdkit.sim.scenario import Broken, Findings, Scenario, Stage
from sdkit.sim.world import World, simulate

NOTHING_RAISES: Final = "nothing raises"
SHORTEST_S: Final = 0.05  # shrinking stops at steps this long


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run, and what became of it."""

    schedule: Schedule
    broken: tuple[Broken, ...]
    seen: dict[str, int | float | str]
    happened: tuple[int, ...]  # numbers of the faults, in order
    hosts: tuple[str, ...]
    digest: str
    virtual_seconds: float
    cpu_seconds: float
    error: str = ""  # the whole text of what was raised
    recorded: tuple[Recorded, ...] = ()  # what happened, if asked for

    @property
    def verdict(self) -> str:
        """``held`` or ``broken``."""
        return "broken" if self.broken else "held"

    @property
    def promises(self) -> set[str]:
        """The names of the broken ones."""
        return {broken.promise for broken in self.broken}


def schedule_for(
    scenario: Scenario, seed: int, *, without: Iterable[str] = (), seconds: float | None = None
) -> Schedule:
    """The schedule that ``seed`` draws for ``scenario``.

    Args:
        seconds: how long the play goes on. A shorter one has the same faults as the
            scenario's own: a run that was shrunk is to be found again by its seed.
    """
    length = scenario.seconds if seconds is None else seconds
    faults = draw(scenario.menus, seed=seed, seconds=max(length, scenario.seconds))
    return Schedule(scenario.name, seed, tuple(faults), length, tuple(sorted(without)))


def run_once(scenario: Scenario, schedule: Schedule, *, record: bool = False) -> Outcome:
    """Make one run.

    Args:
        record: keep what happened, for `sdkit.sim.timeline` and for comparing runs.

    Raises:
        InvalidArgument: the schedule has a fault that cannot happen in this scenario, which is
            no broken promise.
    """
    happened: list[int] = []
    hosts: list[str] = []
    mistakes: list[InvalidArgument] = []

    async def director(world: World) -> Findings:
        injection = Injection(world, schedule.faults, seed=schedule.seed, seconds=schedule.seconds)
        injection.start()
        stage = Stage(
            world,
            without=frozenset(schedule.without),
            seconds=schedule.seconds,
            calm=injection.calm,
        )
        try:
            return await scenario.play(stage)
        finally:
            injection.stop()
            happened.extend(injection.happened)
            hosts.extend(world.machines)
            if injection.mistake is not None:
                mistakes.append(injection.mistake)

    began = time.process_time()
    run = simulate(
        director, seed=schedule.seed, latency_s=scenario.latency_s, record=record, may_fail=True
    )
    if mistakes:
        raise mistakes[0]
    findings = run.result or Findings()
    broken = list(findings.broken)
    if run.error is not None:
        text = f"{type(run.error).__name__}: {run.error}".split("\n")[0]
        broken.append(Broken(NOTHING_RAISES, text))
    return Outcome(
        schedule=schedule,
        broken=tuple(broken),
        seen=findings.seen,
        happened=tuple(happened),
        hosts=tuple(hosts),
        digest=run.digest,
        virtual_seconds=run.virtual_seconds,
        cpu_seconds=time.process_time() - began,
        error="" if run.error is None else _whole(run.error),
        recorded=tuple(run.recorded),
    )


def _whole(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def explore(
    scenario: Scenario, schedules: Iterable[Schedule], *, jobs: int = 1
) -> Iterator[Outcome]:
    """Run every schedule, and give the outcomes as they come.

    Args:
        jobs: how many processes share the work; the order of outcomes is theirs.
    """
    if jobs == 1:
        yield from (run_once(scenario, schedule) for schedule in schedules)
        return
    waiting = iter(schedules)
    # Not forked: a forked child would inherit whatever the parent has patched or half done.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_be_a_worker) as pool:
        try:
            running: set[Future[Outcome]] = {
                pool.submit(run_once, scenario, schedule) for schedule in islice(waiting, 2 * jobs)
            }
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for schedule in islice(waiting, len(done)):
                    running.add(pool.submit(run_once, scenario, schedule))
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _be_a_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    be_quiet()


def be_quiet() -> None:
    """Let this process print no log lines by itself: what goes wrong in a run is in its outcome."""
    logging.getLogger("sdkit").addHandler(logging.NullHandler())


def shrink(
    scenario: Scenario, outcome: Outcome, *, on_try: Callable[[Outcome], None] | None = None
) -> Outcome:
    """The smallest run that still breaks one of the promises that ``outcome`` broke.

    No fault can be left out of it, and it is as short as it can be.

    Args:
        on_try: told before each run which is the smallest so far.
    """
    smallest = outcome
    while True:
        smaller = _shortest(scenario, _fewest(scenario, smallest, on_try), on_try)
        if smaller.schedule == smallest.schedule:
            return smaller
        smallest = smaller  # a shorter run may need fewer faults, and break fewer promises


def _fewest(
    scenario: Scenario, outcome: Outcome, on_try: Callable[[Outcome], None] | None
) -> Outcome:
    """Leave faults out, halves first, until none can be left out."""
    smallest = outcome
    size = (len(smallest.schedule.faults) + 1) // 2
    while size:
        tried = (
            _still_broken(scenario, schedule, smallest, on_try)
            for schedule in _without_each(smallest.schedule, size)
        )
        smaller = next(filter(None, tried), None)
        if smaller is None:
            size //= 2
        else:
            smallest = smaller
            size = min(size, len(smallest.schedule.faults))
    return smallest


def _shortest(
    scenario: Scenario, outcome: Outcome, on_try: Callable[[Outcome], None] | None
) -> Outcome:
    """End the play earlier, by ever smaller steps."""
    smallest = outcome
    step = smallest.schedule.seconds / 2
    while step >= SHORTEST_S:
        schedule = smallest.schedule
        shorter = _changed(schedule, seconds=round(schedule.seconds - step, 3))
        smallest = _still_broken(scenario, shorter, smallest, on_try) or smallest
        step = min(step, smallest.schedule.seconds) / 2
    return smallest


def _still_broken(
    scenario: Scenario,
    schedule: Schedule,
    known: Outcome,
    on_try: Callable[[Outcome], None] | None,
) -> Outcome | None:
    if on_try is not None:
        on_try(known)
    tried = run_once(scenario, schedule)
    return tried if tried.promises & known.promises else None


def _without_each(schedule: Schedule, size: int) -> Iterator[Schedule]:
    """The schedule without its first ``size`` faults, without the next ones, and so on."""
    faults = schedule.faults
    for at in range(0, len(faults), size):
        yield _changed(schedule, faults=[*faults[:at], *faults[at + size :]])


def _changed(
    schedule: Schedule, *, faults: Sequence[Fault] | None = None, seconds: float | None = None
) -> Schedule:
    return Schedule(
        schedule.scenario,
        schedule.seed,
        schedule.faults if faults is None else tuple(faults),
        schedule.seconds if seconds is None else seconds,
        schedule.without,
    )


def only(schedule: Schedule, numbers: Iterable[int]) -> Schedule:
    """The schedule with these faults and no others."""
    wanted = set(numbers)
    return _changed(schedule, faults=[f for f in schedule.faults if f.number in wanted])
