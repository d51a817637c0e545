"""Runs, schedules and shrinking, on a scenario small enough to know the answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from sdkit.errors import InvalidArgument
from sdkit.sim.explore import NOTHING_RAISES, explore, only, run_once, schedule_for, shrink
from sdkit.sim.faults import Fault, Menu, Schedule, draw, table
from sdkit.sim.scenario import Broken, Findings, Scenario, Stage

MENUS = (
    Menu("kill", ["a", "b"], (1, 3), for_s=(0.0, 0.2)),
    Menu("pause", ["a"], (0, 2), for_s=(0.0, 0.2)),
    Menu("cut", ["a<->b"], (1, 2), for_s=(0.0, 0.2)),
)


async def two_kills_of_a_and_one_of_b(stage: Stage) -> Findings:
    """Broken if a was killed at least twice and b once; nothing else matters."""
    machines = [stage.world.machine(name) for name in "ab"]

    async def sleep() -> None:
        await asyncio.sleep(60)

    for machine in machines:
        machine.boot(sleep)
    await stage.calm()
    a, b = (machine.life.number if machine.life else 0 for machine in machines)
    enough = a > 2 and b > 1
    return Findings([Broken("few kills", f"{a} and {b} boots")] if enough else [])


def scenario(play: Callable[[Stage], Coroutine[Any, Any, Findings]]) -> Scenario:
    return Scenario(
        name="toy",
        summary="a toy",
        checks={"few kills": "nobody is killed often"},
        safeguards={},
        menus=MENUS,
        seconds=2.0,
        latency_s=(0.001, 0.001),
        play=play,
    )


TOY = scenario(two_kills_of_a_and_one_of_b)


def first_broken() -> Schedule:
    schedules = (schedule_for(TOY, seed) for seed in range(100))
    return next(it for it in schedules if run_once(TOY, it).broken)


def test_no_fault_can_be_left_out_of_a_shrunk_run() -> None:
    smallest = shrink(TOY, run_once(TOY, first_broken()))
    kinds = [(fault.kind, fault.target) for fault in smallest.schedule.faults]
    assert sorted(kinds) == [("kill", "a"), ("kill", "a"), ("kill", "b")]
    for fault in smallest.schedule.faults:
        others = tuple(it for it in smallest.schedule.faults if it is not fault)
        assert not run_once(TOY, replace(smallest.schedule, faults=others)).broken


def test_a_shrunk_run_is_found_again_by_its_seed_and_its_faults() -> None:
    smallest = shrink(TOY, run_once(TOY, first_broken())).schedule
    again = schedule_for(TOY, smallest.seed, seconds=smallest.seconds)
    assert only(again, [fault.number for fault in smallest.faults]) == smallest


def test_a_menu_that_is_added_changes_no_other_fault() -> None:
    def where(menus: tuple[Menu, ...]) -> set[tuple[str, str, float, float]]:
        faults = draw(menus, seed=5, seconds=2.0)
        return {(it.kind, it.target, it.at_s, it.for_s) for it in faults}

    assert where(MENUS) < where((*MENUS, Menu("reset", ["b<->a"], (3, 3))))


def test_several_processes_find_what_one_finds() -> None:
    schedules = [schedule_for(TOY, seed) for seed in range(6)]
    one, two = (
        {it.schedule.seed: (it.digest, it.broken) for it in explore(TOY, schedules, jobs=jobs)}
        for jobs in (1, 2)
    )
    assert one == two


def test_a_schedule_survives_its_file() -> None:
    schedule = replace(schedule_for(TOY, 3), without=("journal.sync",))
    assert Schedule.parse(schedule.text()) == schedule


def test_a_schedule_is_a_table() -> None:
    fault = Fault(number=4, kind="slow cpu", target="db", at_s=1.5, for_s=0.25, amount=0.1)
    row = table([fault]).splitlines()[1]
    assert " ".join(row.split()) == "4 1.500 s slow cpu db 0.250 s share 0.1"


HEAD = '{"scenario": "toy", "seed": 1, "seconds": 1.0}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"number": 1, "kind": "flood", "target": "a"}', "no fault is called 'flood'"),
        ('{"number": 1, "kind": "kill", "target": "a", "at": 1}', "a fault has no at"),
        ('{"number": 1, "kind": "kill", "target": "a", "at_s": "soon"}', "at_s is 'soon'"),
        ('{"number": 1, "kind": "kill", "target": "a", "at_s": Infinity}', "at_s is inf"),
        ('{"number": 1, "kind": "cut", "target": "a"}', "it must be a->b or a<->b"),
        ('{"kind": "kill", "target": "a"}', "no number"),
        ('{"number": 1, "kind": "slow cpu", "target": "a", "amount": 7}', "amount is 7"),
        ('{"number": 9, "kind": "kill", "target": "a"}', "there is a fault 9 already"),
    ],
)
def test_a_broken_line_of_a_schedule_is_named(line: str, said: str) -> None:
    text = f'{HEAD}\n{{"number": 9, "kind": "kill", "target": "b"}}\n\n{line}\n'
    with pytest.raises(InvalidArgument, match=f"^some.jsonl:4: .*{re.escape(said)}"):
        Schedule.parse(text, source="some.jsonl")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "some.jsonl is empty"),
        ("[]", "some.jsonl:1: .* not a JSON object"),
        ("{}", "some.jsonl:1: a run needs scenario, seed and seconds"),
        (HEAD.replace("1,", '"x",'), "a run needs scenario, seed and seconds"),
        (HEAD.replace("1.0", "NaN"), "some.jsonl:1: seconds is nan"),
        (HEAD.replace("1,", "-1,"), "some.jsonl:1: seed is -1"),
        (HEAD.replace("}", ', "witout": []}'), "some.jsonl:1: a run has no witout"),
        (HEAD.replace("}", ', "without": "x"}'), "some.jsonl:1: without is 'x'"),
    ],
)
def test_a_file_without_a_run_is_refused(line: str, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        Schedule.parse(line, source="some.jsonl")


# ── what goes wrong in a play is a verdict, too ──────────────────────────────


async def raises(stage: Stage) -> Findings:
    raise KeyError("a play that fails")


async def a_host_raises(stage: Stage) -> Findings:
    async def main() -> None:
        raise ValueError("a program that fails")

    machine = stage.world.machine("a")
    machine.boot(main)
    await asyncio.sleep(1)
    return Findings()


async def a_connection_is_left(stage: Stage) -> Findings:
    kept = []

    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "0.0.0.0", 80)
        kept.append(server)

    stage.world.machine("a").boot(main)
    await asyncio.sleep(3)
    return Findings()


async def nobody_looks(stage: Stage) -> Findings:
    async def fail() -> None:
        raise ValueError("nobody awaits me")

    async def main() -> None:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0.1)
        del task
        await asyncio.sleep(0.1)

    stage.world.machine("a").boot(main)
    await asyncio.sleep(1)
    return Findings()


async def waits_for_ever(stage: Stage) -> Findings:
    await asyncio.Event().wait()
    return Findings()


async def runs_for_ever(stage: Stage) -> Findings:
    while stage.seconds:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return Findings()


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (raises, "a play that fails"),
        (a_host_raises, "a ended with ValueError: a program that fails"),
        (a_connection_is_left, "a has ended and left"),
        (nobody_looks, "nobody awaits me"),
        (waits_for_ever, "Deadlock"),
        (runs_for_ever, "Livelock"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_what_goes_wrong_in_a_play_is_its_verdict(
    play: Callable[[Stage], Coroutine[Any, Any, Findings]], said: str
) -> None:
    outcome = run_once(scenario(play), Schedule("toy", 1, (), 1.0))
    assert outcome.verdict == "broken"
    assert outcome.promises == {NOTHING_RAISES}
    assert said in outcome.broken[0].detail
    assert said in outcome.error


@pytest.mark.parametrize("step", [None, 3])
def test_a_fault_on_a_machine_that_is_not_there_is_a_mistake(step: int | None) -> None:
    fault = Fault(number=1, kind="kill", target="c", at_s=0.5, at_step=step)
    with pytest.raises(InvalidArgument, match="fault 1: no machine is named 'c'; there are: a, b"):
        run_once(TOY, Schedule("toy", 1, (fault,), 1.0))


def test_each_direction_of_a_link_is_whole_again_after_its_last_cut() -> None:
    """Both are cut from 0 to 3, one of them from 1 to 2 as well: that one ends first."""
    arrived: list[float] = []

    async def listen() -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1):
                arrived.append(asyncio.get_running_loop().time())
            writer.close()

        async with await asyncio.start_server(take, "b", 80):
            await asyncio.sleep(60)

    async def speak() -> None:
        _, writer = await asyncio.open_connection("b", 80)
        await asyncio.sleep(2.5)
        writer.write(b"x")
        await asyncio.sleep(30)
        writer.close()

    async def play(stage: Stage) -> Findings:
        a, b = (stage.world.machine(name) for name in "ab")
        b.boot(listen)
        a.boot(speak)
        await asyncio.sleep(40)
        return Findings()

    faults = (
        Fault(number=1, kind="cut", target="a<->b", at_s=0.5, for_s=2.5),
        Fault(number=2, kind="cut", target="a->b", at_s=1.0, for_s=1.0),
    )
    assert not run_once(scenario(play), Schedule("toy", 1, faults, 1.0)).broken
    assert [at > 3.0 for at in arrived] == [True]
