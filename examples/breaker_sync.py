"""A breaker in a program without asyncio: nobody listens, and soon nobody tries.

python examples/breaker_sync.py
"""

import socket

from sdkit.breaker import Breaker, BreakerConfig, CircuitOpen, ConsecutiveFailures

with socket.socket() as unused:
    unused.bind(("127.0.0.1", 0))
    NOBODY = unused.getsockname()

database = Breaker("database", BreakerConfig(trip=ConsecutiveFailures(3), open_s=30.0))


@database
def query() -> bytes:
    with socket.create_connection(NOBODY, timeout=1.0) as connection:
        return connection.recv(100)


for attempt in range(1, 6):
    try:
        query()
    except CircuitOpen as error:
        print(f"{attempt}: not even tried, {error.code}")
    except OSError as error:
        print(f"{attempt}: {type(error).__name__}")
print(f"{database.metrics().refused} of 5 calls were spared")
