"""Golden: a script in a file, compared with what happens now, or recorded again.

    check(path, play)                  fails with the difference
    check(path, play, record=True)     writes what was answered into the file

Write the steps, record, and *read* what was recorded: from then on it is what
your subject promises. Recording keeps comments, steps and empty lines as they
are, so a change of behaviour is a change of a few lines in version control.

The file is read and written here and the script is run by `play`, because a
simulated event loop refuses to touch files.
"""

from collections.abc import Callable
from pathlib import Path

from .parsing import ScriptError
from .running import difference


def check(path: Path, play: Callable[[str, str], str], *, record: bool = False) -> None:
    """Run the script in a file, and compare the answers or record them.

    Args:
        path: the script; errors name it.
        play: given its text and its name, runs it and returns the transcript, as
            `transcript` does on an event loop and a subject of your choice.
        record: write the transcript into the file instead of comparing.

    Raises `AssertionError` with the difference, and `ScriptError` where the script
    could not be run to its end, or answered what has no UTF-8 form; then nothing is recorded.
    """
    text = path.read_text(encoding="utf-8")
    name = str(path)
    now = play(text, name)
    if record:
        path.write_bytes(_encoded(now, name))  # opening it for writing empties it: encode first
    elif shown := difference(text, now, name):
        raise AssertionError(shown)


def _encoded(transcript: str, name: str) -> bytes:
    try:
        return transcript.encode()
    except UnicodeEncodeError as error:
        line = transcript.count("\n", 0, error.start) + 1
        problem = f"the transcript cannot be recorded: {error.reason}"
        raise ScriptError(name, line, problem, transcript=transcript) from error
