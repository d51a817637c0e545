"""What the checkers' objects survive: docs/checkers.md."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sdkit.check import (
    MODELS,
    History,
    Recorder,
    Register,
    isolation,
    linearizability,
    transactions,
)

SKEW = [
    '{"id": 1, "reads": [["x", null]], "writes": [["y", 1]]}',
    '{"id": 2, "reads": [["y", null]], "writes": [["x", 2]]}',
]


def recorded() -> Recorder:
    """A write, a read that misses it, and a call under way."""
    recorder = Recorder()
    for process, op, value in (("a", "write", 1), ("b", "read", None)):
        recorder.invoke(process, op, "x", value)
        recorder.ok(process)
    recorder.invoke("c", "write", "x", 2)
    return recorder


def of_calls() -> object:
    return linearizability.check(recorded().history(), Register()).explain()


def of_transactions() -> object:
    verdict = isolation.check(transactions.parse(SKEW))
    return verdict.explain(), verdict.result("serializable")


@pytest.mark.parametrize("judge", [of_calls, of_transactions])
def test_threads_that_judge_at_once_come_to_one_verdict(judge: Callable[[], object]) -> None:
    with ThreadPoolExecutor(4) as pool:
        verdicts = [it.result() for it in [pool.submit(judge) for _ in range(20)]]
    assert verdicts == [judge()] * 20


COPIES: list[Callable[[object], object]] = [
    copy.deepcopy,
    lambda value: pickle.loads(pickle.dumps(value)),
]


@pytest.mark.parametrize("copied", COPIES, ids=["deepcopy", "pickle"])
def test_histories_models_and_verdicts_are_plain_data(copied: Callable[[object], object]) -> None:
    history = copied(recorded().history())
    assert isinstance(history, History)
    assert history == recorded().history()
    for model in MODELS.values():
        assert type(copied(model())) is model
    verdict = copied(linearizability.check(history, Register()))
    assert isinstance(verdict, linearizability.Verdict)
    assert verdict.explain() == of_calls()
    judged = copied(isolation.check(transactions.parse(SKEW)))
    assert isinstance(judged, isolation.Verdict)
    assert (judged.explain(), judged.result("serializable")) == of_transactions()


def test_what_a_verdict_names_is_text_as_well() -> None:
    verdict = isolation.check(transactions.parse(SKEW))
    (anomaly,) = verdict.anomalies.values()
    assert [edge.why for edge in anomaly.edges] == ["rw", "rw"]


def test_a_recorder_in_a_forked_child_goes_on_alone() -> None:
    recorder = recorded()
    child = os.fork()
    if child == 0:
        recorder.ok("c")
        os._exit(recorder.history().operations[-1].outcome != "ok")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert recorder.history().operations[-1].outcome == "info"
