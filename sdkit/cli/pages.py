"""Pages: the parts of ``docs/`` that the code can write better than a person.

A list of error codes kept by hand is wrong after a week. This one is read off
the classes themselves:

    python -m sdkit.cli.pages errors > docs/errors.md

and a test compares the file with it. The packages are walked, not listed: an
error joins the page by being defined.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import Final

import sdkit
from sdkit.errors import Aborted, Indeterminate, Rejected, SdkitError, Unavailable, codes

# These need packages that an installation may lack, and define no errors.
NOT_ROOMS: Final = ("sdkit.cli", "sdkit.spec", "sdkit.sim")

BRANCHES: Final = (
    (Rejected, "It did not happen, and asking the same way again will not help."),
    (Unavailable, "It did not happen, and asking again later may help."),
    (Aborted, "Nothing of the whole transaction happened: repeat it from its start."),
    (Indeterminate, "Nobody knows whether it happened. Look before you repeat."),
)

HEAD: Final = """\
# Errors

Every error that leaves a room answers one question first: *did it happen?* The
four classes below are the four answers, and a caller decides about a retry from
them alone. On the wire an error is its kind, its code, a message for people and
the same facts as fields for programs; a peer that does not know a code still
gets the class of its kind. The tree is [`sdkit/errors.py`](../sdkit/errors.py);
errors that belong to one idea stand beside it.

`python -m sdkit.cli.pages errors` writes this page.
"""


def load_rooms() -> None:
    """Import every file of every room, so that all errors are defined."""
    for info in pkgutil.walk_packages(sdkit.__path__, "sdkit."):
        if not info.name.startswith(NOT_ROOMS):
            importlib.import_module(info.name)


def error_codes() -> str:
    """The page ``docs/errors.md``."""
    load_rooms()
    parts = [HEAD]
    for branch, answer in BRANCHES:
        parts.append(f"## {branch.__name__}\n\n{answer}\n")
        rows = [
            _row(cls)
            for _, cls in sorted(codes().items())
            if issubclass(cls, branch) and cls.__module__.startswith("sdkit.")  # and not a test's
        ]
        parts.append("| code | class | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _row(cls: type[SdkitError]) -> str:
    built_in = [base.__name__ for base in cls.__bases__ if base.__module__ == "builtins"]
    also = f" (also `{built_in[0]}`)" if built_in else ""
    meaning = (cls.__doc__ or "").strip().split("\n\n")[0]
    meaning = " ".join(meaning.split()).replace("|", "\\|").replace("``", "`")
    return f"| `{cls.code}` | `{cls.__module__}.{cls.__name__}`{also} | {meaning} |"


PAGES: Final = {"errors": error_codes}


def main(arguments: list[str]) -> int:
    """Print the page that is asked for; the exit status."""
    if len(arguments) != 1 or arguments[0] not in PAGES:
        print(f"usage: python -m sdkit.cli.pages {'|'.join(PAGES)}", file=sys.stderr)
        return 2
    print(PAGES[arguments[0]](), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
