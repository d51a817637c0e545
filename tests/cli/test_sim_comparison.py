"""How a comparison is shown: as tables and plots for people, as plain data for programs."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from sdkit.cli.sim_comparison import bars, begin, compared, plain, show
from sdkit.scenarios.comparison import Comparison, Part, Plot, Table, Tell, Text, tell_nobody


def compare(seed: int, tell: Tell = tell_nobody) -> list[Part]:
    tell(0, 2, "a")
    return [
        Table("cost [each]", ("way", "calls", "share"), [("a", 12_345 + seed, 0.25)], ["a note"]),
        Plot("load", {"slow": [0.0, 0.1, 8.0], "quick": [1.0, 4.0]}),
        Text("picture", ["|[x]|"]),
    ]


TOY = Comparison("toy", "two ways", compare)


def test_every_part_is_shown_with_its_title() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=80, no_color=True)
    begin(console, TOY, 3)
    show(console, compare(3))
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    assert lines == [
        "toy, seed 3: two ways",
        "",
        "cost [each]",
        "way   calls  share",
        "a    12,348   0.25",
        "a note",
        "",
        "load",
        "slow    ▁█  max 8",
        "quick  ▁▄  max 4",
        "",
        "picture",
        "|[x]|",
    ]


def test_names_are_whole_on_a_narrow_screen_and_decimals_stand_in_line() -> None:
    headings = ("scheme", *("a heading that is long",) * 6)
    rows = [
        ("rendezvous", *(1.16, 0.855, None, 1_234.5, 7, 1e-9)),
        ("b", *(1.0, 2.5, 0.5, 2.0, 8, 1.0)),
    ]
    shown = io.StringIO()
    show(Console(file=shown, width=60), [Table("narrow", headings, rows)])
    last = [line.split() for line in shown.getvalue().splitlines()[-2:]]
    assert last == [
        ["rendezvous", "1.16", "0.855", "1,234", "7", "1e-09"],
        ["b", "1.00", "2.500", "0.5", "2", "8", "1"],
    ]


@pytest.mark.parametrize("width", [60, 70, 80])
def test_no_word_is_cut_where_the_screen_is_narrow(width: int) -> None:
    """The headings of cascade: one of them lost its end at 80 columns."""
    headings = (
        "calls are made with",
        "pages",
        "complete",
        "median s",
        "calls to Profile",
        "well again after",
    )
    rows = [
        ("a whole pipeline", 111, 0, 0.036, 40, "4 s"),
        ("retries", 1, 2, 4.041, 795, "not in this run"),
    ]
    shown = io.StringIO()
    show(Console(file=shown, width=width), [Table("narrow", headings, rows)])
    text = shown.getvalue()
    assert "…" not in text
    words = [word for heading in headings for word in heading.split()]
    assert set(words) <= set(text.split()) or width < 70
    assert "a whole pipeline" in text


def test_progress_is_shown_to_a_person_and_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(TOY, 3) == compare(3)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("TERM", "xterm")
    assert compared(TOY, 3) == compare(3)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "0/2" in shown.err


def test_as_json_it_has_the_kind_and_the_fields_of_each_part() -> None:
    data = json.loads(json.dumps(plain(TOY, 3, compare(3))))
    assert (data["comparison"], data["seed"]) == ("toy", 3)
    assert [part["kind"] for part in data["parts"]] == ["table", "plot", "text"]
    assert data["parts"][0]["rows"] == [["a", 12_348, 0.25]]
    assert data["parts"][1]["curves"]["quick"] == [1.0, 4.0]


def test_a_bar_is_blank_for_zero_only() -> None:
    assert bars([0.0, 0.001, 5.0, 10.0], 10.0) == " ▁▄█"
    assert bars([0.0, 0.0], 0.0) == "  "
