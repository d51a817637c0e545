"""Scenarios: work with a verdict, to be run on real machines and on simulated ones.

A scenario drives a room through its public interface, keeps its own account of
what was promised, and in the end holds the room to it. It knows nothing of the
machines below: ``sdkit demo`` runs `bank` against real processes that are killed.

Read in this order
    bank_workload  transfers between accounts, audits beside them; nothing lost, nothing twice
    served_store   a database on a machine, its supervisor, its clients' way to it
    bank        that workload in the simulator, while power, links and disks fail
    levels_workload   random transactions that write down what they saw
    levels      those under faults, at each level of isolation, judged by a checker
    registers   single keys under faults: is there one order of all calls?
    journal     a log whose machine dies at every step of its disk, and in its recovery
    rpc         calls and streams over links that break
    clocks      time-outs while clocks drift and are set
    comparison  the same work done in several ways, side by side: a table and no verdict
    hashing     which node owns a key: every scheme, side by side
    cascade     one slow service under four others, its callers protected in four ways
    cascade_figures   goodput, latency and load of each
    catalog     the names that ``sdkit sim`` knows
"""

from sdkit.scenarios.bank_workload import Bank, Verdict

__all__ = ["Bank", "Verdict"]
