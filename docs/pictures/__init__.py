"""Pictures and tables of ``docs/`` that are drawn from runs of the code.

Each module here has ``draw() -> str``. A page marks the place:

    <!-- picture: store -->
    ...
    <!-- end picture -->

``python -m docs.pictures`` (``make pictures``) draws all of them anew;
``tests/test_pictures.py`` draws them and compares, so that no page shows what the
code no longer does.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent
_PLACE = re.compile(r"(<!-- picture: (\w+) -->\n).*?(<!-- end picture -->)", re.DOTALL)


def redrawn(page: Path) -> str:
    """The text of ``page`` with every picture in it drawn anew."""
    return _PLACE.sub(
        lambda match: match[1] + _block(match[2]) + match[3], page.read_text(encoding="utf-8")
    )


def pages() -> list[Path]:
    """The pages that show pictures."""
    return [page for page in sorted(DOCS.glob("*.md")) if _PLACE.search(page.read_text("utf-8"))]


def _block(name: str) -> str:
    drawn = str(importlib.import_module(f"docs.pictures.{name}").draw())
    is_diagram = drawn.startswith(("sequenceDiagram", "stateDiagram", "flowchart"))
    return f"```mermaid\n{drawn}```\n" if is_diagram else drawn
