"""What happens to a breaker, its callers and its callee, from a run on the simulated loop."""

from __future__ import annotations

import asyncio

from sdkit.breaker import Breaker, BreakerConfig, CircuitOpen, ConsecutiveFailures
from sdkit.host import running_on
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.trace import Record, SequenceDiagram, event, listening


def draw() -> str:
    """Two failures, refusals, two probes of three callers, and one result that comes too late."""
    diagram = SequenceDiagram(_label)
    with listening(diagram):
        run(_on_a_host())
    return diagram.text()


async def _on_a_host() -> None:
    with running_on(SimulatedHost("breaker")):  # so that notes stand there
        await _story()


async def _story() -> None:
    config = BreakerConfig(
        trip=ConsecutiveFailures(2), open_s=10.0, half_open_calls=2, half_open_successes=2
    )
    breaker = Breaker("breaker", config)

    async def call(name: str, takes_s: float, *, fails: bool = False) -> None:
        async def ask() -> None:
            _arrow("breaker", "callee", f"call of {name}")
            await asyncio.sleep(takes_s)
            _arrow("callee", "breaker", f"{'error' if fails else 'answer'} for {name}")
            if fails:
                raise OSError

        _arrow(name, "breaker", "call")
        try:
            await breaker.call(ask)
        except CircuitOpen as error:
            _arrow("breaker", name, f"{error.code}")
        except OSError:
            _arrow("breaker", name, "error")
        else:
            _arrow("breaker", name, "answer")

    async with asyncio.TaskGroup() as group:
        group.create_task(call("a", 10.4, fails=True))
        await call("b", 0.1, fails=True)
        await call("b", 0.1, fails=True)
        await call("b", 0.1)
        await asyncio.sleep(10.0)
        for name in ("b", "c", "d"):
            group.create_task(call(name, 0.5))


def _arrow(source: str, target: str, label: str) -> None:
    event("picture.arrow", source=source, target=target, label=label)


def _label(record: Record) -> str | None:
    if record.name == "picture.arrow":
        return str(record.fields["label"])
    if record.name == "breaker.change":
        return f"{record.fields['trigger']}, now {record.fields['now']}"
    return None
