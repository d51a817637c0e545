"""Catalog: the scenarios and comparisons that ``sdkit sim`` knows by name."""

from __future__ import annotations

from typing import Final

from sdkit.scenarios.bank import BANK
from sdkit.scenarios.cascade_figures import CASCADE
from sdkit.scenarios.clocks import CLOCKS
from sdkit.scenarios.hashing import HASHING
from sdkit.scenarios.journal import JOURNAL
from sdkit.scenarios.levels import ISOLATION_LEVELS
from sdkit.scenarios.registers import REGISTERS
from sdkit.scenarios.rpc import RPC

SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (BANK, ISOLATION_LEVELS, REGISTERS, JOURNAL, RPC, CLOCKS)
}
COMPARISONS: Final = {comparison.name: comparison for comparison in (CASCADE, HASHING)}
