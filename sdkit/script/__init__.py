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

Read in this order
    parsing   the text becomes steps; errors that name file and line
    running   the subject, the run, and the difference of two transcripts
    golden    a script in a file: compared, or recorded again

Where it comes from
    PostgreSQL's isolation tester (``src/test/isolation/README``) has sessions
    with named steps, run in given orders, and marks a step that waits; to know
    that, it asks the server about its locks. CockroachDB's datadriven keeps the
    expected answer below each command and rewrites all of them with one flag
    (``-rewrite``); goldenscript, with which toyDB is tested, adds a prefix that
    can say which client speaks. Here all three are together, and who waits is
    asked of the subject.

Left out: several orders of the same steps, which the isolation tester makes by
itself; one file tells one order.
"""

from .golden import check
from .parsing import ScriptError, Step, is_answer, parse
from .running import Answer, Refused, Subject, answer_lines, difference, transcript

__all__ = [
    "Answer",
    "Refused",
    "ScriptError",
    "Step",
    "Subject",
    "answer_lines",
    "check",
    "difference",
    "is_answer",
    "parse",
    "transcript",
]
