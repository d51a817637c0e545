"""What the store's page says about its events and gauges is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store.server import StoreServer
from tests.store.stores import engine_on

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
EVENT = re.compile(r"""\b(?:event|span)\(\s*"(store\.\w+)\"""")


def test_every_event_is_in_the_table_and_no_other() -> None:
    in_code = {
        name
        for path in (ROOT / "sdkit" / "store").glob("*.py")
        for name in EVENT.findall(path.read_text(encoding="utf-8"))
    }
    table = PAGE[PAGE.index("| event |") : PAGE.index("## Where the usual account")]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    in_page = {name for row in rows for name in re.findall(r"`(store\.\w+)`", row.split("|")[1])}
    assert in_page == in_code


def test_every_metric_of_a_server_says_what_it_is() -> None:
    async def main() -> str:
        async with StoreServer(SimulatedHost("db")) as server:
            return server.metrics_text()

    text = run(main())
    names = [line.split()[0] for line in text.splitlines() if not line.startswith("#")]
    assert "sdkit_store_versions_removed_total" in names
    for name in names:
        assert re.search(rf"^# HELP {name} .{{9,}}\.$", text, re.MULTILINE)
        kind = "counter" if name.endswith("_total") else "gauge"
        assert f"# TYPE {name} {kind}\n" in text


def test_every_gauge_is_in_the_table() -> None:
    async def main() -> set[str]:
        async with engine_on() as store:
            return set(store.gauges())

    table = PAGE[PAGE.index("| name |") : PAGE.index("| event |")]
    for gauge in run(main()):
        short = "..." + gauge.removeprefix("store.transactions")
        assert f"`{gauge}`" in table or f"`{short}`" in table, gauge
