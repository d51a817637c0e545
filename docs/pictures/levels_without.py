"""Of `docs/isolation.md`: the scripts of the anomalies at stores that lack one safeguard."""

from __future__ import annotations

from sdkit.cli.anomalies import observe, parts_of, scripts
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import Store, StoreConfig, StoreEngine
from sdkit.store.database import Database
from sdkit.store.isolation import RULES
from sdkit.without.isolation import SAFEGUARDS

SCRIPTS = scripts()


def draw() -> str:
    lines = ["| without | what it does | now seen |", "|---|---|---|"]
    for each in SAFEGUARDS:
        seen = "<br>".join(_more(each.variant)) or "nothing by these scripts"
        lines.append(f"| `{each.name}` | {each.rule} | {seen} |")
    return "\n".join(lines) + "\n"


def _more(database: type[Database]) -> list[str]:
    """By level: what is seen though it is forbidden."""
    seen = {level: run(_observed(level, database)) for level in RULES}
    more = {level: [it for it in seen[level] if it in RULES[level].forbids] for level in RULES}
    return [f"at {level}: {', '.join(found)}" for level, found in more.items() if found]


async def _observed(level: str, database: type[Database]) -> list[str]:
    isolation, serializable = parts_of(level)
    config = StoreConfig(serializable=serializable or "optimistic")
    async with StoreEngine(SimulatedHost("db"), config, database=database) as store:

        async def given() -> Store:
            return store

        courses = [await observe(script, isolation, store, given) for script in SCRIPTS]
    return [course.script.anomaly for course in courses if course.observed]
