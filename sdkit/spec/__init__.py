"""Specifications: what a room promises, as tests that a stranger can point at their own.

A specification is a function of a factory: `store.one_session(make)` returns a
test case that pytest and unittest collect. It sees the public interface only,
and its oracle is the promise itself, never a second implementation. Each
property has a mutant that it catches by name (``tests/spec/mutants``).

Read in this order
    running             the loop, clocks and notes of all; how a promise is declined
    loop                an event loop in virtual time
    hashing             which node owns a key, before and after a change of nodes
    breaker             when it opens, whom it lets in, and what it does not count
    breaker_calls       the callers and callees of that specification
    breaker_places      no place of a bulkhead is lost, no retry unpaid
    oddities            anything at all that a function may be given, return or raise
    rpc                 calls over a connection, whatever carries them
    disk                files that tell the truth about what survives a power cut
    journal             a list that survives being closed
    journal_promises    what a journal has told anybody, written down beside it
    journal_crashes     a journal across crashes, faults and flipped bits
    journal_damage      whoever looks at a damaged journal and whoever opens it say the same
    journal_schedules   the smallest schedules that break a journal without one rule
    store               transactions one after another, against a dictionary
    store_oracle        what overlapping transactions may be answered
    store_sessions      transactions that overlap, against the levels' promises
    store_serializable  transactions that overlap, against every order of running them one by one
    store_refusals      arguments of any type, embedded and over TCP: refused alike
    store_commit        between a commit's record and its durability
    check               checkers of histories, against brute force
    check_oracle        every order, every circle, one by one
"""

import pkgutil

try:
    import hypothesis  # noqa: F401
    import pytest
except ImportError as error:
    raise ImportError(
        f"the specifications need {error.name}, which is not installed: "
        "pip install 'system-design-kit[spec]'"
    ) from error

# So that a failure of theirs shows the values it compared, as one in a test of yours does.
pytest.register_assert_rewrite(
    *(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__))
)
