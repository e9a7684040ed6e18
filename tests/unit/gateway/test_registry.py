"""The Confluent reads: what an unmodified client asks, and nothing more."""

from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from schemas.registry import by_id, subjects
from services.gateway.registry.api import registry_routes
from services.kit.errors import Refused


async def let_in(header: str | None) -> object:
    if header != "Bearer good":
        raise Refused.of("login", "token-missing")
    return object()


async def ask(
    path: str, method: str = "GET", token: str = "good", query: bytes = b""
) -> tuple[int, Any]:
    """A request without a socket."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(b"authorization", f"Bearer {token}".encode())],
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await Starlette(routes=registry_routes(let_in))(scope, receive, send)
    raw = b"".join(m.get("body", b"") for m in sent[1:])
    return sent[0]["status"], orjson.loads(raw)


async def test_a_schema_is_found_by_its_id() -> None:
    number, released = next(iter(by_id().items()))
    assert await ask(f"/schemas/ids/{number}") == (200, {"schema": released.text})


async def test_subjects_and_versions_are_listed() -> None:
    assert await ask("/subjects") == (200, subjects())
    subject = subjects()[0]
    assert await ask(f"/subjects/{subject}/versions") == (200, [1])
    status, found = await ask(f"/subjects/{subject}/versions/latest")
    assert (status, found["subject"], found["version"]) == (200, subject, 1)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/schemas/ids/999999", 40403),
        ("/schemas/ids/one", 40403),
        ("/schemas/ids/" + "9" * 5000, 40403),
        ("/subjects/none/versions", 40401),
        ("/subjects/none/versions/1", 40401),
    ],
)
async def test_what_is_not_there_is_said_as_confluent_says_it(path: str, code: int) -> None:
    status, body = await ask(path)
    assert (status, body["error_code"]) == (404, code)
    assert "999" not in body["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nobody_writes(method: str) -> None:
    status, body = await ask("/subjects/x/versions", method)
    assert (status, body["error_code"]) == (405, 405)


async def test_without_a_token_nothing_is_read() -> None:
    status, body = await ask("/subjects", token="bad")
    assert (status, body["error_code"]) == (401, 401)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/subjects", b"colour=red"),
        ("/subjects", b"deleted=perhaps"),
        ("/subjects", b"offset=-1"),
        ("/subjects", b"limit=-2"),
        ("/subjects", b"limit=99999999"),
        ("/subjects", b"limit=1&limit=2"),
        ("/schemas/ids/1", b"deleted=true"),
        ("/subjects/x/versions/1", b"limit=1"),
    ],
)
async def test_a_parameter_without_meaning_is_refused(path: str, query: bytes) -> None:
    assert (await ask(path, query=query))[0] == 400


async def test_a_list_is_cut_as_a_confluent_client_asks() -> None:
    _, every = await ask("/subjects")
    assert (await ask("/subjects", query=b"deleted=False&deleted_only=false&limit=-1"))[1] == every
    assert (await ask("/subjects", query=b"offset=1&limit=2"))[1] == every[1:3]
    assert (await ask("/subjects", query=b"deleted_only=true"))[1] == []
    start = every[0][:12]
    begun = (await ask("/subjects", query=b"subjectPrefix=" + start.encode()))[1]
    assert begun == [one for one in every if one.startswith(start)]
    assert (await ask("/schemas/ids/1", query=b"subject=whatever"))[0] == 200
