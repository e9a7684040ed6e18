"""Shape of every port.

The few questions that services ask one another and need answered now. A port is a Protocol whose
methods are batch-shaped: a sequence in, a list of the same length and order out. Inside a process
it is a function call; between processes `kit.rpc` carries it as `POST /port/method`.
"""

MAX_BATCH = 64
"""Most items one call may carry (PostgreSQL advisory locks, latency)."""
