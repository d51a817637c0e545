"""breaker: stop asking someone who is down.

A callee that fails quickly costs its callers an answer. One that hangs costs them
their workers: each waits, and soon none is left for what would have worked. This
room is what goes around a call to somebody else, so that their trouble stays theirs:

    limit how long a call waits (timeout), how many wait at once (bulkhead), how
    often the hopeless is tried (breaker), what is added by asking again (retry, with a
    budget), and say something instead (fallback).

Read in this order
    smallest    the idea alone, and what it gets wrong
    states      the whole life of a breaker, as one table
    policies    how many failures are too many: a run, or a rate over a window
    backoff     pauses that grow, and are nobody else's
    config      the thresholds, each named for what it is
    circuit     the breaker as a machine: generations, permits, what counts
    judging     which errors speak against the callee
    layer       what can be put around a function, of whichever kind
    results     a bad result is a failure for every layer, and in the end a result again
    checks      clocks and sources of chance, refused where they are given
    steps       one step at a time; what is told after it; a lock that a fork leaves free
    metrics     what there is to see at one look
    breaker     the shell: decorator, block, plain object; tasks and threads
    budget      how many retries all callers together may add
    retry       ask again, where that is safe, later, and not too often
    places      who is in, who waits at the door, who is sent away
    bulkhead    the shell around it
    timeout     a call takes so long, and then it is over for the caller
    lastgood    what the callee said when it last said something
    fallback    something instead
    pipeline    all of them around one call, in the order that makes sense
    settings    thresholds in a shared document; why the state is not shared
    following   breakers that keep up with it, and do without it

Everything here works alone, in any program: no server, no host, no event loop of ours.

After M. Nygard, "Release It!" (2007), and resilience4j, whose names it uses where it
can. The page is ``docs/breaker.md``; ``sdkit sim cascade`` shows what it is for.
"""

from sdkit.breaker.backoff import Backoff
from sdkit.breaker.breaker import Attempt, Breaker
from sdkit.breaker.budget import RetryBudget
from sdkit.breaker.bulkhead import Bulkhead
from sdkit.breaker.circuit import CircuitOpen
from sdkit.breaker.config import BreakerConfig
from sdkit.breaker.fallback import Fallback
from sdkit.breaker.following import Following, Source
from sdkit.breaker.layer import Layer
from sdkit.breaker.metrics import BreakerMetrics
from sdkit.breaker.pipeline import Pipeline
from sdkit.breaker.places import BulkheadFull
from sdkit.breaker.policies import ConsecutiveFailures, FailureRate
from sdkit.breaker.retry import Retry
from sdkit.breaker.settings import Setting, Settings, parse
from sdkit.breaker.states import State
from sdkit.breaker.timeout import Timeout

__all__ = [
    "Attempt",
    "Backoff",
    "Breaker",
    "BreakerConfig",
    "BreakerMetrics",
    "Bulkhead",
    "BulkheadFull",
    "CircuitOpen",
    "ConsecutiveFailures",
    "FailureRate",
    "Fallback",
    "Following",
    "Layer",
    "Pipeline",
    "Retry",
    "RetryBudget",
    "Setting",
    "Settings",
    "Source",
    "State",
    "Timeout",
    "parse",
]
