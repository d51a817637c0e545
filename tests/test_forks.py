"""Forks: a child gets what it needs anew, and nothing is kept for its sake."""

from __future__ import annotations

import gc
import weakref
from random import Random

from sdkit import forks
from sdkit.host import Host
from tests.test_ownership import in_another_process

DRAW = """
import os, random
from sdkit import forks
from sdkit.host import Host, current
hosts = [Host("own"), Host("given", random=random.Random(1)), current()]

class Fails:
    def renew(self):
        raise RuntimeError("only this one")

class Renewed:
    def renew(self):
        print("renewed", flush=True)

renewed, fails, also = Renewed(), Fails(), Renewed()
for it in (renewed, fails, also):
    forks.renew_in_child(it, type(it).renew)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the failure is reported, and stops nobody
child = os.fork()
drawn = [host.random.random() for host in hosts]
print("child" if not child else "parent", *drawn, flush=True)
if not child:
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_child_draws_other_numbers_unless_it_was_given_the_generator() -> None:
    lines = [line.split() for line in in_another_process(DRAW).splitlines()]
    drawn = {line[0]: line[1:] for line in lines if line[0] != "renewed"}
    same = [a == b for a, b in zip(drawn["parent"], drawn["child"], strict=True)]
    assert same == [False, True, False]
    assert [line[0] for line in lines].count("renewed") == 2, "each has its turn"


def test_hosts_and_their_generators_are_not_kept_for_the_sake_of_forks() -> None:
    gc.disable()
    try:
        hosts = [Host("many") for _ in range(50)]
        gone = [weakref.ref(host.random) for host in hosts]
        known = len(forks._renewals)
        del hosts
        assert [ref() for ref in gone] == [None] * 50
        assert len(forks._renewals) == known - 50
    finally:
        gc.enable()


def test_a_generator_that_was_given_is_left_alone() -> None:
    given = Random(1)
    Host("a", random=given)
    assert given not in forks._renewals
