"""Refusals of bytes, HTTP and tokens, each by one change to an accepted request."""

import json
from collections.abc import Callable
from time import time
from typing import Any

from services.gateway.auth.service import AUDIENCE
from tests.support.bundles import (
    MUTATIONS,
    Mutation,
    both,
    cut,
)
from tests.support.refusals import (
    Case,
    Change,
    Make,
    claim,
    form,
    full,
    header,
    in_body,
    in_bytes,
    method,
    new_key,
    path,
    send,
    simple,
    token_request,
)
from tests.support.refusals_world import SUSPENDED, World

Bundle = dict[str, Any]


def case(
    name: str,
    code: str,
    rule: str,
    at: str,
    make: Make,
    change: Change,
    **more: Any,
) -> Case:
    """A row; refusals of a submission are kept unless it says otherwise."""
    return Case(
        name=name,
        code=code,
        rule=rule,
        field=at,
        make=make,
        change=change,
        **{"kept": True, **more},
    )


# --- by the mapping ---------------------------------------------------------------------------


def of_mutation(mutation: Mutation) -> Case:
    """A case of the mapping's own table."""
    make = full(minor=True) if mutation.minor else full()
    return case(
        mutation.name,
        mutation.code,
        mutation.rule,
        mutation.field,
        make,
        in_body(mutation.change),
    )


# --- bytes ------------------------------------------------------------------------------------


def _malformed(name: str, rule: str, change: Callable[[bytes], bytes], make: Make) -> Case:
    return case(name, "malformed", rule, "", make, in_bytes(change))


def _swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(raw: bytes) -> bytes:
        assert old in raw
        return raw.replace(old, new, 1)

    return change


def _deep(count: int) -> Callable[[bytes], bytes]:
    return _swap(b"{", b'{"note":' + b"[" * count + b"]" * count + b",")


BYTES = (
    _malformed("byte order mark", "byte-order-mark", lambda b: b"\xef\xbb\xbf" + b, full()),
    _malformed("UTF-16", "byte-order-mark", lambda b: b.decode().encode("utf-16"), simple()),
    _malformed("broken UTF-8", "utf8", _swap(b'"family":"', b'"family":"\xff'), full()),
    _malformed("overlong UTF-8", "utf8", _swap(b'"family":"', b'"family":"\xc0\xaf'), simple()),
    _malformed("cut short", "json", lambda b: b[:-1], full()),
    _malformed("empty body", "json", lambda b: b"", simple()),
    _malformed("comma too many", "json", lambda b: b[:-1] + b",}", simple()),
    _malformed("a list", "object", lambda b: b"[" + b + b"]", full()),
    _malformed("a text", "object", lambda b: json.dumps(b.decode()).encode(), simple()),
    _malformed("two documents", "trailing-data", lambda b: b + b, full()),
    _malformed("nested 41 deep", "depth", _deep(41), full()),
    _malformed("nested 100,000 deep", "depth", _deep(100_000), simple()),
    _malformed(
        "a key twice", "duplicate-key", _swap(b'"type":', b'"type":"batch","type":'), full()
    ),
    _malformed(
        "an escaped key twice",
        "duplicate-key",
        _swap(b'"type":', b'"t\\u0079pe":"batch","type":'),
        simple(),
    ),
    _malformed("NaN", "not-a-number", _swap(b'"rank":1', b'"rank":NaN'), full()),
    _malformed("infinity", "not-a-number", _swap(b'"rank":1', b'"rank":-Infinity'), simple()),
    _malformed("1e999", "number-range", _swap(b'"rank":1', b'"rank":1e999'), full()),
    _malformed(
        "5,000 digits", "number-range", _swap(b'"rank":1', b'"rank":' + b"9" * 5000), simple()
    ),
    _malformed(
        "half a pair", "lone-surrogate", _swap(b'"family":"', b'"family":"\\ud83d'), full()
    ),
    _malformed(
        "U+0000", "nul-character", _swap(b'"family":"', b'"family":"\\u0000'), full()
    ),
    case(
        "1 MB and a byte", "too-large", "size", "", full(),
        in_bytes(lambda b: b + b" " * (1_048_577 - len(b))), kept=False,
    ),
    case(
        "20 MB", "too-large", "size", "", simple(),
        in_bytes(lambda b: b + b" " * 20_000_000), kept=False,
    ),
    case(
        "51 entries", "too-large", "entries", "Bundle.entry", full(),
        in_body(lambda of: of["entry"].extend([of["entry"][4]] * (51 - len(of["entry"])))),
    ),
)  # fmt: skip


# --- HTTP, tokens, keys -----------------------------------------------------------------------


def _token(**claims: Any) -> Change:
    """A token as the hub makes it, but for these claims."""

    def change(world: World, request: Any) -> None:
        scope = "system/Patient.c system/ServiceRequest.c system/Consent.c system/Task.c"
        good = {"aud": AUDIENCE, "sub": request.org, "scope": scope, "exp": int(time()) + 200}
        request.token = world.own_token(good | claims)

    return change


def _foreign_token(world: World, request: Any) -> None:
    end = int(time()) + 200
    claims = {"aud": AUDIENCE, "sub": request.org, "scope": "system/Task.c", "exp": end}
    request.token = world.own_token(claims, secret=b"\x07" * 32)


def _literal_token(text: str) -> Change:
    return lambda world, request: setattr(request, "token", text)


def _used_key(world: World, request: Any) -> None:
    request.headers["Idempotency-Key"] = world.known["used-key"]


def with_key(make: Make) -> Make:
    """The request with a key in its header."""

    def made(world: World, number: int) -> Any:
        request = make(world, number)
        request.headers["Idempotency-Key"] = new_key()
        return request

    return made


def _http(name: str, code: str, rule: str, at: str, change: Change) -> Case:
    return case(name, code, rule, at, simple(), change, kept=False)


HTTP = (
    _http("no token", "login", "token-missing", "Authorization", _literal_token("")),
    _http(
        "Basic", "login", "token-missing", "Authorization",
        header("Authorization", "Basic Zm9vOmJhcg=="),
    ),
    _http("token of another hub", "login", "token-invalid", "Authorization", _foreign_token),
    _http("no JWT", "login", "token-invalid", "Authorization", _literal_token("zzqx.yy.ww")),
    _http(
        "unsigned token", "login", "token-invalid", "Authorization",
        _literal_token("eyJhbGciOiJub25lIn0.eyJzdWIiOiJvbmctbm9ydGUifQ."),
    ),
    _http("staff token", "login", "token-invalid", "Authorization", _token(aud="cauce-staff")),
    _http("expired token", "login", "token-expired", "Authorization", _token(exp=1)),
    _http(
        "token that may only read", "forbidden", "scope", "Authorization",
        _token(scope="system/Task.rs system/Patient.cru system/Consent.c"),
    ),
    _http("token of a suspended partner", "forbidden", "partner", "", _token(sub=SUSPENDED)),
    _http(
        "XML", "media-type", "media-type", "Content-Type",
        header("Content-Type", "application/fhir+xml"),
    ),
    _http(
        "wants XML", "not-acceptable", "accept", "Accept", header("Accept", "application/fhir+xml")
    ),
    _http("wants XML by _format", "not-acceptable", "accept", "Accept", path("?_format=xml")),
    _http("unknown parameter", "not-supported", "parameter", "", path("?_zzqx=zzqx")),
    _http("unknown address", "not-found", "path", "", path("-zzqx")),
    _http("DELETE", "not-supported-method", "method", "", method("DELETE")),
    case(
        "key of another submission", "duplicate", "other-content", "", with_key(simple()),
        _used_key,
    ),
    case(
        "blank key", "value-invalid", "idempotency-key", "Idempotency-Key", with_key(simple()),
        header("Idempotency-Key", ""),
    ),
    case(
        "key of 256", "value-invalid", "idempotency-key", "Idempotency-Key", with_key(simple()),
        header("Idempotency-Key", "k" * 256),
    ),
    case(
        "no key", "required", "idempotency-key", "Bundle.identifier", simple(),
        in_body(both(cut("Bundle", "identifier"), cut("Task", "identifier"))),
    ),
)  # fmt: skip


# --- tokens -----------------------------------------------------------------------------------


def _login(name: str, rule: str, change: Change, code: str = "invalid_client") -> Case:
    at = {"invalid_client": "client_assertion", "invalid_scope": "scope"}.get(code, "")
    at = "grant_type" if code == "unsupported_grant_type" else at
    return case(name, code, rule, at, token_request(), change, kept=False, shape="oauth")


def _other_signer(world: World, request: Any) -> None:
    request.signer = "ong-este"


def _suspended(world: World, request: Any) -> None:
    request.claims |= {"iss": SUSPENDED, "sub": SUSPENDED}
    request.signer = SUSPENDED


async def use_jti(world: World) -> None:
    """An assertion that was used once."""
    request = token_request()(world, 0)
    assert (await send(world, request)).status == 200
    world.known["used-jti"] = request.claims["jti"]


def _later(seconds: int) -> Callable[[World], int]:
    return lambda world: int(time()) + seconds


UNSIGNED = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJvbmctbm9ydGUifQ."
AUTH = (
    _login("no assertion", "assertion", form("client_assertion", "zzqx")),
    _login("other kind of assertion", "assertion", form("client_assertion_type", "zzqx")),
    _login("unsigned", "signature", form("client_assertion", UNSIGNED)),
    _login("signed by another", "signature", _other_signer),
    _login("suspended partner", "partner", _suspended),
    _login("other subject", "subject", claim("sub", "ong-este")),
    _login("other audience", "audience", claim("aud", "https://zzqx.example/token")),
    _login("assertion expired", "expired", claim("exp", _later(-120))),
    _login("no expiry", "expired", claim("exp", None)),
    _login("valid for an hour", "too-long", claim("exp", _later(3600))),
    _login("not yet valid", "not-yet", claim("nbf", _later(200))),
    _login("no jti", "jti", claim("jti", None)),
    _login("replayed", "jti-replayed", claim("jti", lambda world: world.known["used-jti"])),
    _login(
        "JSON for a form", "form", header("Content-Type", "application/json"), "invalid_request"
    ),
    _login("other grant", "grant-type", form("grant_type", "password"), "unsupported_grant_type"),
    _login("scope of a person", "malformed", form("scope", "patient/*.read"), "invalid_scope"),
    _login("scope to delete", "over-broad", form("scope", "system/Task.cruds"), "invalid_scope"),
)

WIRE = (*(of_mutation(m) for m in MUTATIONS), *BYTES, *HTTP, *AUTH)
