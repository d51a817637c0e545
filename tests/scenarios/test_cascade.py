"""The cascade: each way of calling does to the services what its lesson says."""

from __future__ import annotations

from functools import cache

from sdkit.scenarios.cascade import SLOW_FROM, SLOW_UNTIL, run_way
from sdkit.scenarios.cascade_figures import compare, goodput, well_again_after
from sdkit.scenarios.comparison import Plot, Table

OUTAGE = slice(SLOW_FROM + 1, SLOW_UNTIL)
SEED = 3

compared = cache(lambda: compare(SEED))


def test_the_whole_pipeline_keeps_the_pages_coming_and_nothing_else_does() -> None:
    table, *plots = compared()
    assert isinstance(table, Table)
    rows = {str(row[0]): row for row in table.rows}
    asked, complete, degraded, lost = (
        {way: int(str(row[column])) for way, row in rows.items()} for column in (1, 2, 3, 4)
    )
    assert len(set(asked.values())) == 1, "the same pages are asked for"
    for way in ("nothing", "time-outs", "retries"):
        assert lost[way] >= 0.95 * asked[way]
    assert lost["pipeline"] <= 0.05 * asked["pipeline"]
    assert complete["pipeline"] + degraded["pipeline"] >= 0.95 * asked["pipeline"]
    calls = {way: int(str(row[6])) for way, row in rows.items()}
    assert calls["retries"] > 2 * calls["time-outs"], "the storm"
    assert calls["pipeline"] < calls["time-outs"] / 3, "the quiet"
    assert rows["retries"][7] == "not in this run", "it keeps itself alive"
    for plot in plots:
        assert isinstance(plot, Plot)
        assert list(plot.curves) == list(rows)


def test_the_same_seed_gives_the_same_run_and_another_one_another() -> None:
    plot = compared()[1]
    assert isinstance(plot, Plot)
    again, other = run_way("pipeline", SEED), run_way("pipeline", SEED + 1)
    assert goodput(again) == plot.curves["pipeline"] != goodput(other)
    assert min(goodput(other)[OUTAGE]) > 0
    assert (well_again_after(other) or 0) < 10
