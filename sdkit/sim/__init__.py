"""Simulation: time that jumps, a network without cables, disks that may lose what they may.

Most of what goes wrong in a distributed system goes wrong in between: between
a write and its sync, a request and its answer, a time-out and the thing that
was only late. On a real machine these moments pass by themselves, once in a
million runs. Here they are steps of a program, that a test can stop at:

    async def main() -> None:
        async with StoreServer(host, config) as server: ...

    sdkit.sim.loop.run(main())

Nothing of what is tested knows that it is simulated. The cut is made where a
program meets the operating system: under the event loop, below the sockets,
behind the `Disk` interface.

Read in this order
    smallest      the idea alone, and what it gets wrong
    loop          `run`: the stock asyncio loop on a selector that moves the clock
    selector      waits by moving the clock; deadlock, livelock
    interception  where the standard library is replaced, and put back
    escapes       what is refused, and what is answered out of virtual time and the seed
    callers       whose code asks, and in which line
    sockets       what asyncio opens in place of real sockets
    network       connections, machines, faults, and messages under way
    addresses     whose is which name, address and port
    links         latency, bandwidth, cuts, losses and repetition
    stream        the two ends of a TCP connection (a core)
    waiting       who waits for whom, in a deadlock
    disk          `SimulatedDisk`: kill, power cut, faults
    drive         the steps of a disk, and how they fail
    platter       what may be left of a file after a power cut (a core)
    clocks        offset, drift and jumps of a machine's two clocks (a core)
    host          a machine as its own code sees it
    life          one boot of a machine: what a kill ends
    freezing      how all code of a life stops at once
    machine       boot, kill, power cut, pause, restart
    digest        a whole run in one line (a core)
    world         `simulate`: machines, and the play that directs them
    scenario      a play with a verdict
    faults        what goes wrong, as plain data (a core)
    injection     a schedule of faults, carried out
    explore       many seeds, one run again, the smallest that still breaks
    timeline      a run as a picture
"""
