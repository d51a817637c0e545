"""The checkers meet their specification, and the specification bites."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sdkit.check import MODELS, Operation, Transaction, isolation, linearizability
from sdkit.check.anomalies import Anomalies
from sdkit.check.search import Search
from sdkit.spec.check import Decide, Judge, calls, transactions


def decide(search: type[Search] = Search) -> Decide:
    def word(model: str, operations: Sequence[Operation]) -> str:
        return linearizability.check(operations, MODELS[model](), search=search).result

    return word


def judge(anomalies: type[Anomalies] = Anomalies) -> Judge:
    def names(history: Sequence[Transaction]) -> tuple[Collection[str], bool]:
        verdict = isolation.check(history, anomalies=anomalies)
        return verdict.anomalies, verdict.complete

    return names


TestCalls = calls(decide())
TestTransactions = transactions(judge())
