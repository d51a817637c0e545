"""Golden scripts: a conversation of several sessions, with the answers below.

A test of who waits for whom is hard to read as code: tasks, events and
assertions hide the story. Here the story is the test. The file holds the steps
and what they answered; running it again must give the same text, to the letter.

    sessions alice bob

    alice: lock x
        ok
    bob: lock x
        waits
    alice: unlock x
        ok
        bob: ok

Bob's answer stands below the step that let him go on. That he waits, the
subject says (`Subject.waiting`): a time-out would only guess, and would make
every test that waits as slow as the guess.

Read `parsing` (the text becomes steps), then `running` (steps become a
transcript, and two transcripts a difference):

    parsing.py   the grammar, and errors that name file and line
    running.py   the subject, the run, the unified diff

The idea is that of PostgreSQL's isolation tester and of CockroachDB's datadriven
tests. Left out: several orders of the same steps; one file tells one order.
"""

from .parsing import ScriptError, Step, parse
from .running import Answer, Refused, Subject, difference, transcript

__all__ = [
    "Answer",
    "Refused",
    "ScriptError",
    "Step",
    "Subject",
    "difference",
    "parse",
    "transcript",
]
