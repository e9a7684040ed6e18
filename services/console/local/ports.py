"""TCP ports of this machine: is one free, which one is free, does one answer."""

import socket

from services.console.local.place import LocalError

LOOPBACK = "127.0.0.1"


def check_free(port: int, used_for: str, setting: str, host: str = LOOPBACK) -> None:
    """Raise LocalError, naming the setting that moves it, when something listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise LocalError(
                f"port {port} on {host} is in use ({used_for}): stop what listens there,"
                f" or set {setting} to another port"
            ) from error


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now (all different)."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def answers(port: int, host: str = LOOPBACK) -> bool:
    """Whether a connection to the port is accepted."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
