"""A process of services: live, ready, metrics, a port in use, a clean stop."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.kit.settings import Settings


@asynccontextmanager
async def process(settings: Settings, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services",
        name,
        env={"PATH": os.environ["PATH"], **settings.to_environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


def get(settings: Settings, path: str) -> tuple[int, bytes]:
    try:
        url = f"http://127.0.0.1:{settings.admin_port}{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


async def test_a_process_becomes_ready_tells_its_metrics_and_stops_within_three_seconds(
    settings: Settings,
) -> None:
    async with process(settings, "relay") as relay:
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(get, settings, "/ready"))[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert (await asyncio.to_thread(get, settings, "/live"))[0] == 200
        _, text = await asyncio.to_thread(get, settings, "/metrics")
        assert b"cauce_events_pending" in text
        assert (await asyncio.to_thread(get, settings, "/docs"))[0] == 404
        began = time.monotonic()
        relay.send_signal(signal.SIGTERM)
        out, err = await relay.communicate()
        assert time.monotonic() - began < 3
    assert relay.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[-1]["event"] == "stopped", str(lines[-1])[-300:]
    assert err == b""


async def test_a_port_in_use_gives_one_clear_line(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = settings.model_copy(update={"admin_port": taken.getsockname()[1]})
        async with process(settings, "custody") as custody:
            _, err = await asyncio.wait_for(custody.communicate(), 20)
    assert custody.returncode == 1
    assert err.decode().count("\n") == 1
    assert str(settings.admin_port) in err.decode()


async def test_a_process_without_its_database_lives_and_says_it_is_not_ready(
    settings: Settings,
) -> None:
    lost = settings.model_copy(update={"database_port": 1})
    async with process(lost, "custody") as custody:
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(get, lost, "/live"))[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        status, body = await asyncio.to_thread(get, lost, "/ready")
        assert status == 503
        assert json.loads(body)["parts"]["custody.database"] == "ConnectionRefusedError"
        assert custody.returncode is None
