"""The checkers meet their specification, and the specification bites."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest

from sdkit.check import MODELS, Model, Operation, Transaction, isolation, linearizability
from sdkit.check.anomalies import Anomalies
from sdkit.check.dependencies import Dependencies
from sdkit.check.search import Search
from sdkit.check.versions import Observed
from sdkit.spec.check import Decide, Judge, calls, transactions
from tests.spec.bite import assert_caught
from tests.spec.mutants import check as mutants


def decide(search: type[Search] = Search, models: Mapping[str, type[Model]] = MODELS) -> Decide:
    def word(model: str, operations: Sequence[Operation]) -> str:
        return linearizability.check(operations, models[model](), search=search).result

    return word


def judge(
    step: type[Observed] | type[Dependencies] | type[Anomalies] = Anomalies,
) -> Judge:
    def names(history: Sequence[Transaction]) -> tuple[Collection[str], bool]:
        verdict = isolation.check(
            history,
            observed=step if issubclass(step, Observed) else Observed,
            dependencies=step if issubclass(step, Dependencies) else Dependencies,
            anomalies=step if issubclass(step, Anomalies) else Anomalies,
        )
        return verdict.anomalies, verdict.complete

    return names


TestCalls = calls(decide())
TestTransactions = transactions(judge())


@pytest.mark.parametrize("mutant", mutants.SEARCHES, ids=lambda m: m.search.__name__)
def test_the_specification_catches_a_search_that(mutant: mutants.SearchMutant) -> None:
    assert_caught(calls(decide(mutant.search)), mutant.property)


@pytest.mark.parametrize("mutant", mutants.MODELS, ids=lambda m: m.model.__name__)
def test_the_specification_catches_a_model_that(mutant: mutants.ModelMutant) -> None:
    models = {**MODELS, mutant.model.name: mutant.model}
    assert_caught(calls(decide(models=models)), mutant.property)


@pytest.mark.parametrize("mutant", mutants.ISOLATION, ids=lambda m: m.step.__name__)
def test_the_specification_catches_a_checker_that(mutant: mutants.IsolationMutant) -> None:
    assert_caught(transactions(judge(mutant.step)), mutant.property)
