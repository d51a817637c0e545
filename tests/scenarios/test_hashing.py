"""The comparison of hashing schemes: repeatable, and what its pages say of it is so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.cli.sim_comparison import plain
from sdkit.errors import InvalidArgument
from sdkit.scenarios.catalog import COMPARISONS
from sdkit.scenarios.comparison import Part, Table
from sdkit.scenarios.hashing import HASHING, SCHEMES, compare, draw_keys, strips


@pytest.fixture(scope="module")
def parts() -> list[Part]:
    """That they are the same in another process, the picture on the page shows (test_pictures)."""
    return compare(0)


def table(parts: list[Part], number: int) -> dict[str, list[object]]:
    tables = [part for part in parts if isinstance(part, Table)]
    return {str(row[0]): list(row[1:]) for row in tables[number].rows}


def test_the_command_tells_the_same_to_people_and_programs(
    parts: list[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMPARISONS, "hashing", replace(HASHING, compare=lambda seed, tell: parts))
    as_json = CliRunner().invoke(app, ["sim", "hashing", "--json"])
    assert json.loads(as_json.stdout) == json.loads(json.dumps(plain(HASHING, 0, parts)))
    shown = CliRunner().invoke(app, ["sim", "hashing"]).stdout
    assert all(part.title in shown for part in parts)
    assert "rendezvous  10 blake2b  compare 10 bids" in shown


def test_another_seed_draws_other_keys() -> None:
    assert not set(draw_keys(0)) & set(draw_keys(1))
    assert len(set(draw_keys(1))) == 10_000


def test_what_moves_is_near_what_is_told_and_what_theory_says(parts: list[Part]) -> None:
    rows = table(parts, 0)
    assert list(rows) == [scheme.name for scheme in SCHEMES]
    for name, row in rows.items():
        for moves, told, theory in (row[2:5], row[5:8]):
            if name != "bounded":
                # A sample of 10,000 strays by a percentage point; a ring's share by 8 % of itself.
                assert abs(percent(moves) - percent(told)) < 1.5
                assert abs(percent(told) - percent(theory)) < 2.5
    assert all(percent(rows["modulo"][column]) > 85 for column in (2, 5))


def percent(cell: object) -> float:
    return float(str(cell).removesuffix("%"))


def test_no_node_of_the_bounded_ring_is_far_above_its_share(parts: list[Part]) -> None:
    assert float(str(table(parts, 0)["bounded"][0])) <= 1.25
    hot = table(parts, 2)
    assert float(str(hot["bounded 1.25"][0])) <= 1.25
    assert float(str(hot["ring"][0])) > 2


def test_rendezvous_hashes_once_for_each_node_and_the_others_once(parts: list[Part]) -> None:
    hashes = {name: row[0] for name, row in table(parts, 1).items()}
    assert hashes.pop("rendezvous") == "10 blake2b"
    assert set(hashes.values()) == {"1 blake2b", "1 MD5", "1 CRC16"}


def test_in_the_picture_of_a_join_only_the_newcomer_takes_keys_but_for_two_schemes() -> None:
    for line in strips("joins", "k", draw_keys(3)[:64]):
        name, strip = line.split()
        assert len(strip) == 64
        if name not in ("modulo", "bounded"):
            assert set(strip) <= {".", "k"}, line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--runs", "5"], "not --runs"),
        (["--no-faults", "--seconds", "1s"], "not --no-faults, --seconds"),
        (["--seed", "-1"], "--seed is -1"),
    ],
)
def test_what_a_comparison_does_not_take_is_named(options: list[str], said: str) -> None:
    refused = CliRunner().invoke(app, ["sim", "hashing", *options])
    assert isinstance(refused.exception, InvalidArgument)
    assert said in refused.exception.message


def test_it_is_listed() -> None:
    listed = json.loads(CliRunner().invoke(app, ["sim", "--list", "--json"]).stdout)
    assert {"kind": "comparison", "name": "hashing", "summary": HASHING.summary} in listed
    assert "hashing  which node owns a key" in CliRunner().invoke(app, ["sim", "--list"]).stdout
