"""Each test of this room knows which threads are its own."""

from __future__ import annotations

import pytest

from tests.storage.threads import remember_others


@pytest.fixture(autouse=True)
def _threads_of_others() -> None:
    remember_others()
