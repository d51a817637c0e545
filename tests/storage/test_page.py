"""``docs/journal.md`` shows what it must; that it tells the truth is for tests/test_pages.py."""

from __future__ import annotations

import re

from tests.pages import ROOT, blocks

PAGE = ROOT / "docs" / "journal.md"


def test_the_page_has_a_torn_tail_a_flipped_byte_and_a_full_disk() -> None:
    shown = "".join(block.text for block in blocks(PAGE))
    assert all(said in shown for said in ("torn tail:", "corruption:", "unavailable:"))


def test_every_event_of_the_room_is_in_the_page_and_no_other() -> None:
    said = {
        name
        for path in (ROOT / "sdkit" / "storage").glob("*.py")
        for name in re.findall(r'\b(?:event|span)\(\s*"(journal\.\w+)"', path.read_text())
    }
    listed = set(re.findall(r"^\| `(journal\.\w+)`", PAGE.read_text(), re.MULTILINE))
    assert said == listed
