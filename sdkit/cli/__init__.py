"""The command line: what people start.

Everything here is thin: it parses options, calls a room, prints a table. No room
imports it, so ``import sdkit.store`` loads neither typer nor rich; they come with
the extra ``cli``.

Read in this order
    start           from the word ``sdkit`` to the command
    streams         the standard streams, whatever the process was started with
    main            the command ``sdkit``: its subcommands, how an error is shown
    lazy            a command of commands, each loaded when it is asked for
    units           durations and sizes as people write them
    addresses       how a server is named
    options         command-line options and TOML made from a room's config dataclass
    serve           ``sdkit serve ROOM``
    child           a room's server as a child process, to be killed and started again
    demo            ``sdkit demo``: its three parts
    demo_bank       nothing is lost, on real processes, with real kills
    store_sessions  several people at one store, with a transaction each
    store_words     how bytes, versions and transactions are typed and shown
    conversation    what people type at such sessions, and how it is answered, as lines
    shell           ``sdkit shell store://HOST:PORT``: the terminal around that
    anomalies       each a script of such sessions: observed at a level, or not
    demo_levels     all of them at all levels, over TCP: the matrix
    demo_price      serializable by locking, and without waiting: what each costs
    journal         ``sdkit journal DIR``: what is in a journal, and whether it is whole
    check           ``sdkit check FILE``: could this history have happened?
    own_model       the class that its ``--model package.module:Class`` names
    metrics         ``sdkit metrics ADDRESS``: what a running server counts
    sim             ``sdkit sim SCENARIO``: one run, many runs, the smallest that breaks
    sim_report      what that command shows
    sim_comparison  and what it shows of a comparison: tables and plots, no verdict
    explore         ``make explore``: seeds that nobody has tried yet
    console         the standard output, without blanks at the ends of lines
    pages           the parts of the documentation that are made from the code
"""
