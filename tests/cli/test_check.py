"""`sdkit check` as a person would type it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sdkit.check import History, Recorder
from sdkit.cli import main
from tests.check.test_linearizability import hard_counter
from tests.cli import command


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def sdkit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command, in this process: starting one takes longer than all that is tested here."""

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["sdkit", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        shown = capsys.readouterr()
        return Done(int(ended.value.code or 0), shown.out, shown.err)

    return run


def test_it_reads_its_input_and_says_how_it_is_used(tmp_path: Path) -> None:
    wrong = calls(tmp_path / "wrong.jsonl", 2)
    done = command.sdkit("check", "wrong.jsonl", "--model", "register", cwd=wrong.parent)
    assert done.returncode == 1
    usage = command.sdkit("check", "--help").stdout
    for words in ("--model", "--isolation", "--budget", "--html", "--json", "fenced-lock"):
        assert words in usage


def calls(path: Path, answer: int) -> Path:
    recorder = Recorder()
    recorder.invoke("a", "write", "x", 1)
    recorder.ok("a")
    recorder.invoke("b", "read", "x")
    recorder.ok("b", answer)
    path.write_text("\n".join(recorder.history().lines()) + "\n")
    return path


def test_the_exit_status_is_the_verdict_on_calls(tmp_path: Path, sdkit: Run) -> None:
    right, wrong = calls(tmp_path / "right.jsonl", 1), calls(tmp_path / "wrong.jsonl", 2)
    done = sdkit("check", str(right), "--model", "register")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "linearizable: there is an order for 2 operations on a register\n"
    page = tmp_path / "wrong.html"
    done = sdkit("check", str(wrong), "--model", "register", "--html", str(page))
    assert done.returncode == 1
    assert "cannot be next: at this point it is null" in done.stdout
    assert "<svg" in page.read_text()
    done = sdkit("check", str(wrong), "--model", "register", "--json")
    plain = json.loads(done.stdout)
    assert plain["result"] == "not linearizable"
    assert plain["counterexample"]["cannot_be_next"][0]["call"] == "read: 2"


def test_a_budget_that_is_used_up_is_status_three(tmp_path: Path, sdkit: Run) -> None:
    path = tmp_path / "hard.jsonl"
    path.write_text("\n".join(History(hard_counter()).lines()))
    done = sdkit("check", str(path), "--model", "counter", "--budget", "3000steps")
    assert done.returncode == 3
    assert done.stdout.startswith("undecided")


def test_the_exit_status_is_the_verdict_on_transactions(tmp_path: Path, sdkit: Run) -> None:
    path = tmp_path / "t.jsonl"
    rows = [
        {"id": 1, "reads": [["x", None], ["y", None]], "writes": [["x", 1]], "position": 1},
        {"id": 2, "reads": [["x", None], ["y", None]], "writes": [["y", 2]], "position": 2},
        {"id": 3, "writes": [["y", 3]], "position": 3},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert sdkit("check", str(path), "--isolation", "snapshot-isolation").returncode == 0
    done = sdkit("check", str(path), "--isolation", "serializable")
    assert done.returncode == 1
    assert 'T1 before T2: T1 read null from "y", and not yet 2, which T2 wrote (rw)' in done.stdout
    done = sdkit("check", str(path), "--isolation", "serializable", "--json")
    assert json.loads(done.stdout)["anomalies"]["G2-item"]["transactions"] == [1, 2]
    del rows[2]["position"]
    path.write_text("\n".join(map(json.dumps, rows)))
    done = sdkit("check", str(path), "--isolation", "read committed")
    assert done.returncode == 3
    assert "no anomaly found" in done.stdout


def test_a_page_that_cannot_be_written_takes_no_verdict_away(tmp_path: Path, sdkit: Run) -> None:
    path = calls(tmp_path / "wrong.jsonl", 2)
    done = sdkit("check", str(path), "--model", "register", "--html", str(tmp_path / "no" / "x"))
    assert done.returncode == 2
    assert done.stdout.startswith("not linearizable")
    before = path.read_text()
    done = sdkit("check", str(path), "--model", "register", "--html", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "the history itself" in done.stderr
    assert path.read_text() == before


CART = """
from sdkit.check import IMPOSSIBLE, Model
class Cart(Model):
    calls = {"add": True, "read": False}
    def step(self, state, operation):
        if operation.op == "read":
            return state if operation.result == state else IMPOSSIBLE
        return (state or 0) + operation.argument
class Lost(Model):
    pass
class Idle(Model):
    calls = {"add": True}
class Fussy(Cart):
    def __init__(self, size):
        self.size = size
class Listed(Cart):
    def step(self, state, operation):
        return [operation.argument]
class Fails(Cart):
    def step(self, state, operation):
        return self.shelf
number = 7
"""


def test_a_model_of_ones_own_is_taken_from_a_module(
    tmp_path: Path, sdkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_shop").mkdir()
    (tmp_path / "my_shop" / "models.py").write_text(CART)
    (tmp_path / "my_shop" / "broken.py").write_text("import no_such_thing")
    (tmp_path / "my_shop" / "raising.py").write_text("1 / 0")
    recorder = Recorder()
    for op, value, answer in (("add", 2, None), ("add", 3, None), ("read", None, 5)):
        recorder.invoke("ann", op, "cart", value)
        recorder.ok("ann", answer)
    path = tmp_path / "carts.jsonl"
    path.write_text("\n".join(recorder.history().lines()))
    done = sdkit("check", str(path), "--model", "my_shop.models:Cart")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "linearizable: there is an order for 3 operations on a Cart\n"
    for model, what in (
        ("my_shop.models:", "write package.module:Class"),
        ("my_shop.models:1", "write package.module:Class"),
        ("no_shop.models:Cart", "there is no module no_shop, neither in"),
        ("my_shop.modles:Cart", "there is no module my_shop.modles, neither in"),
        (
            "my_shop.models:Carts",
            "Carts is not there in module my_shop.models; its models are Cart",
        ),
        ("my_shop.models:number", "number is no sdkit.check.Model"),
        ("my_shop.models:Lost", "the model Lost has no calls"),
        ("my_shop.models:Idle", "the model Idle has no step(self, state, operation)"),
        ("my_shop.models:Fussy", "missing 1 required positional argument: 'size'"),
        ("my_shop.models:Listed", "is [2], of type list; a state is a value that does not change"),
        (
            "my_shop.models:Fails",
            "AttributeError: 'Fails' object has no attribute 'shelf' (models.py",
        ),
        ("my_shop.broken:Cart", "my_shop.broken cannot be imported: ModuleNotFoundError"),
        ("my_shop.raising:Cart", "ZeroDivisionError: division by zero (raising.py:1)"),
    ):
        done = sdkit("check", str(path), "--model", model)
        assert (done.returncode, done.stdout) == (2, ""), model
        assert what in " ".join(done.stderr.split()), done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_what_is_no_history_is_status_two_and_one_line(tmp_path: Path, sdkit: Run) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"process": 1, "type": "ok"}\n')
    empty, unvalued = tmp_path / "empty.jsonl", tmp_path / "unvalued.jsonl"
    empty.write_text("\n")
    unvalued.write_text('{"process": 1, "type": "invoke", "op": "write"}\n')
    for arguments, what in (
        ((str(path), "--model", "register"), "line 1: ok of process 1, which has no call open"),
        ((str(path), "--model", "registre"), "no model 'registre'; did you mean register?"),
        ((str(path), "--isolation", "serialisable"), "did you mean serializable?"),
        ((str(path),), "give --model NAME for calls, or --isolation LEVEL"),
        ((str(tmp_path / "none"), "--model", "map"), "none"),
        ((str(path), "--model", "map", "--isolation", "serializable"), "not both"),
        ((str(path), "--model", "map", "--budget", "soon"), "--budget is 'soon'; give a time"),
        ((str(path), "--model", "map", "--budget", "0"), "--budget is '0'"),
        ((str(path), "--model", "map", "--budget", "0steps"), "as in 500000steps"),
        ((str(path), "--model", "map", "--budget=-5steps"), "as in 60s"),
        ((str(empty), "--model", "map"), f"{empty} is empty: it holds no operation"),
        ((str(empty), "--isolation", "serializable"), f"{empty} is empty: it holds no transaction"),
        ((str(unvalued), "--model", "register"), f"{unvalued}: line 1: write has no value"),
    ):
        done = sdkit("check", *arguments)
        assert done.returncode == 2, arguments
        assert done.stdout == ""
        assert what in done.stderr
        assert done.stderr.count("\n") == 1
