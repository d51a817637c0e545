"""``sdkit sim``: one run, many, the smallest that breaks; and what is typed wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.sim.explore import Outcome, only
from sdkit.sim.scenario import Scenario
from tests.cli.command import sdkit


def test_a_run_as_json_has_what_a_machine_needs() -> None:
    done = sdkit("sim", "rpc", "--seed", "3", "--json")
    run = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (run["scenario"], run["seed"], run["verdict"]) == ("rpc", 3, "held")
    assert run["broken"] == []
    assert run["faults"]
    assert len(run["digest"]) == 32
    assert run["virtual_seconds"] > 3.0


def test_a_run_is_told_as_a_story() -> None:
    done = sdkit("sim", "bank", "--seed", "7")
    assert done.returncode == 0, done.stderr
    for part in ("bank, seed 7", "machines: db", "power cut", "transfers acknowledged", "digest"):
        assert part in done.stdout
    lines = done.stdout.splitlines()
    assert not any(line.endswith(" ") for line in lines)
    first = next(number for number, line in enumerate(lines) if line.startswith("held"))
    assert all(line.startswith(("held    ", "        ")) for line in lines[first:-1])


def test_many_runs_have_one_verdict() -> None:
    done = sdkit("sim", "rpc", "--runs", "5", "--jobs", "2", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert found["runs"] == 5
    assert found["broken"] == []
    assert found["faults"]
    assert found["slowest"]["seed"] in range(5)


def test_without_a_safeguard_a_seed_breaks_it_and_the_smallest_run_can_be_replayed(
    tmp_path: Path,
) -> None:
    saved = tmp_path / "smallest.jsonl"
    search = ("sim", "rpc", "--without", "rpc.lost_is_indeterminate", "--runs", "50")
    done = sdkit(*search, "--save", str(saved))
    assert done.returncode == 1, done.stderr
    assert "breaks it: no means no" in done.stdout
    (replay,) = [line for line in done.stdout.splitlines() if line.startswith("replay: ")]
    again = sdkit(*replay.removeprefix("replay: sdkit ").split(), "--json")
    from_file = sdkit("sim", "--schedule", str(saved), "--json")
    assert again.returncode == from_file.returncode == 1
    runs = [json.loads(each.stdout) for each in (again, from_file)]
    assert runs[0]["digest"] == runs[1]["digest"]
    assert runs[0]["broken"][0]["promise"] == "no means no"
    assert len(runs[0]["faults"]) == 1


def test_the_scenarios_are_listed_with_what_they_check_and_can_do_without() -> None:
    listed = json.loads(sdkit("sim", "--list", "--json").stdout)
    scenarios = [each for each in listed if each["kind"] == "scenario"]
    names = ["bank", "levels", "registers", "journal", "rpc", "clocks"]
    assert [each["name"] for each in scenarios] == names
    assert all(each["checks"] and each["safeguards"] for each in scenarios)
    assert "journal.sync" in sdkit("sim", "--list").stdout


def test_two_recorded_runs_are_compared(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        sdkit("sim", "rpc", "--seed", str(seed), "--record", str(tmp_path / name))
    same = sdkit("sim", "--compare", str(tmp_path / "a"), str(tmp_path / "b"))
    other = sdkit("sim", "--compare", str(tmp_path / "a"), str(tmp_path / "c"))
    assert (same.returncode, other.returncode) == (0, 1)
    assert same.stdout.startswith("the same")
    assert "first differ in line" in other.stdout


def test_a_run_is_drawn_on_one_page(tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    assert sdkit("sim", "bank", "--seed", "7", "--timeline", str(page)).returncode == 0
    text = page.read_text(encoding="utf-8")
    assert "bank, seed 7" in text
    assert "@data@" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # needs nothing else


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which scenario? There are: bank"),
        (["bonk"], "no scenario is called 'bonk'; did you mean bank?"),
        (["xyzzy", "--list"], "no scenario is called 'xyzzy'; there are: bank"),
        (["journal", "--without", "rpc.deadlines"], "bank and rpc and clocks can"),
        (["bank", "--seconds", "0"], "--seconds is 0.0; it must lie between 0.01 and 3600"),
        (["bank", "--seconds", "2h"], "--seconds is 7200"),
        (["bank", "--only-fault", "1", "--no-faults"], "--no-faults and --only-fault do not go"),
        (["bank", "--jobs", "3"], "--jobs shares many runs"),
        (["bank", "--without", "jounal.sync"], "did you mean journal.sync"),
        (["bank", "--seed", "x"], "--seed"),
        (["bank", "--seed", "-4"], "--seed is -4"),
        (["bank", "--only-fault", "99"], "there is no fault 99"),
        (["bank", "--runs", "0"], "--runs is 0"),
        (["--schedule", "missing.jsonl"], "missing.jsonl"),
        (["--compare", "missing", "too"], "missing"),
        (["bank", "--runs", "2", "--only-fault", "3"], "--runs and --only-fault do not go"),
        (["bank", "--runs", "2", "--timeline", "x"], "add --timeline to the line"),
        (["--schedule", "x", "--seed", "0"], "--schedule and --seed do not go"),
        (["--schedule", "x", "--without", "y"], "--schedule and --without do not go"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_typed_wrong_is_named(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = sdkit("sim", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


HEAD = '{"scenario": "bank", "seed": 1, "seconds": 1.0}'
BEHEADED = '{"scenario": "bank", "seed": 1, "seconds": 1, "without": ["jounal.sync"]}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEAD}\n{{", "schedule.jsonl:2: not JSON"),
        (HEAD.replace("bank", "bonk"), "no scenario is called 'bonk'"),
        (BEHEADED, "did you mean journal.sync"),
        (
            f'{HEAD}\n{{"number": 4, "kind": "kill", "target": "bd"}}',
            "fault 4: no machine is named",
        ),
        ("\udcff", "is not text in UTF-8"),
    ],
)
def test_a_schedule_that_cannot_be_run_is_an_error_and_no_verdict(
    text: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "schedule.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    done = sdkit("sim", "--schedule", str(path))
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_prints_what_is_known_so_far() -> None:
    words = ["sim", "journal", "--runs", "100000", "--json"]
    command = [sys.executable, "-m", "sdkit.cli.start", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("searching")  # it runs by now
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    found = json.loads(out)
    assert process.returncode == 130
    assert found["interrupted"] is True


def test_the_list_of_one_scenario_is_about_that_one() -> None:
    shown = sdkit("sim", "rpc", "--list").stdout
    assert "rpc.deadlines" in shown
    assert "journal.sync" not in shown
    (only_one,) = json.loads(sdkit("sim", "hashing", "--list", "--json").stdout)
    assert only_one["name"] == "hashing"


def test_a_schedule_may_be_given_with_the_scenario_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "schedule.jsonl"
    without = ["--without", "rpc.deadlines"] * 2  # once is enough
    saved = ("sim", "rpc", "--seconds", "0.1", *without, "--save", str(path), "--json")
    run = json.loads(sdkit(*saved).stdout)
    assert run["without"] == ["rpc.deadlines"]
    again = sdkit("sim", "rpc", "--schedule", str(path), "--json")
    assert json.loads(again.stdout)["digest"] == run["digest"]
    other = sdkit("sim", "bank", "--schedule", str(path))
    assert other.returncode == 2
    assert f"{path} is a schedule of rpc, not bank" in other.stderr


def test_ctrl_c_while_a_run_is_made_smaller_shows_how_small_it_is_by_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shrink(
        scenario: Scenario, outcome: Outcome, *, on_try: Callable[[Outcome], None]
    ) -> Outcome:
        on_try(replace(outcome, schedule=only(outcome.schedule, [1])))
        raise KeyboardInterrupt

    monkeypatch.setattr("sdkit.cli.sim.shrink", shrink)
    words = ["sim", "rpc", "--without", "rpc.answers_by_id", "--runs", "1", "--json"]
    done = CliRunner().invoke(app, words)
    found = json.loads(done.stdout)
    assert done.exit_code == 130
    assert found["interrupted"] is True
    assert [fault["number"] for fault in found["smallest"]["faults"]] == [1]
    told = CliRunner().invoke(app, words[:-1])
    assert "1 of them enough, so far:" in told.stdout


def test_an_empty_record_is_not_the_same_as_another(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    result = sdkit("sim", "--compare", str(tmp_path / "a"), str(tmp_path / "a"))
    assert result.returncode == 2
    assert "a is empty; --record writes what can be compared" in result.stderr
