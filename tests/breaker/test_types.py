"""A program of ten lines that imports each primitive is understood by a strict type checker."""

from __future__ import annotations

from pathlib import Path

from mypy import api

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """\
from sdkit.breaker import Backoff, Breaker, BreakerConfig, Bulkhead, ConsecutiveFailures, Fallback
from sdkit.breaker import FailureRate, Pipeline, Retry, RetryBudget, Timeout, parse
strict = BreakerConfig(trip=ConsecutiveFailures(5), slow_call_s=1.0)
profiles = Breaker("profiles", parse(b"{}").good["x"].config if False else strict)
retry = Retry(backoff=Backoff(first_s=0.1), budget=RetryBudget(percent=10))
around = Pipeline(fallback=Fallback(default=""), retry=retry, bulkhead=Bulkhead(), breaker=profiles)
@around
def name(user: int) -> str: return str(user)
@Breaker(config=BreakerConfig(trip=FailureRate(50)))
async def slow(user: int) -> str: return await Timeout(1.0).call(Breaker().call, slow, user)
"""


def test_ten_lines_with_every_primitive_pass_a_strict_type_checker(tmp_path: Path) -> None:
    assert PROGRAM.count("\n") == 10
    path = tmp_path / "program.py"
    path.write_text(PROGRAM + 'reveal_type(name(1))\nreveal_type(slow)\nname("ada")\n')
    cache = f"--cache-dir={ROOT / '.mypy_cache'}"
    said, _, _ = api.run(["--strict", "--no-error-summary", cache, str(path)])
    assert 'Revealed type is "str"' in said.replace("builtins.", "")
    lines = [line for line in said.splitlines() if ": error:" in line]
    assert len(lines) == 1, said
    assert 'Argument 1 to "name"' in lines[0] or 'has incompatible type "str"' in lines[0]
