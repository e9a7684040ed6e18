"""Token requests in which every part carries an invented identity."""

import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from connectors.sandbox.smart import ASSERTION_TYPE
from services.kit.crypto import jwk_of, make_jwt_es384
from tests.support.canary_traffic import Sent, Traffic


async def strangers(traffic: Traffic) -> list[Sent]:
    """Token requests whose every part carries something."""
    pem = (traffic.partners / "ong-norte" / "client.es384").read_bytes()
    url = f"{traffic.hub}/oauth/token"
    word = traffic.word("assertion")
    right = {"iss": "ong-norte", "sub": "ong-norte", "aud": url, "exp": 0, "jti": str(uuid4())}
    header = {"kid": jwk_of(pem)["kid"], "typ": "JWT"}
    wrong: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({**header, "kid": word}, right),
        (header, {**right, "iss": word, "sub": word}),
        (header, {**right, "aud": word}),
        (header, {**right, "jti": word}),
        (header, {**right, "exp": word}),
        (header, {**right, word: traffic.word("assertion", "name")}),
    ]
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "scope": "",
    }
    forms = [
        {**form, "client_assertion": make_jwt_es384(pem, head, claims)} for head, claims in wrong
    ]
    forms += [{**form, "client_assertion": word, name: word} for name in form]
    kind = "application/x-www-form-urlencoded"
    bodies = ["&".join(f"{k}={quote(v)}" for k, v in f.items()).encode() for f in forms]
    bodies += [word.encode(), f"a={quote(traffic.word('assertion', 'name'))}&a=2".encode()]
    return [
        await traffic.call(
            "POST", "/oauth/token", body, org=None, what="token", headers={"Content-Type": kind}
        )
        for body in bodies
    ]


async def jti(traffic: Traffic) -> Sent:
    """A good assertion whose jti and further claims carry something."""
    pem = (traffic.partners / "ong-norte" / "client.es384").read_bytes()
    claims = {
        "iss": "ong-norte",
        "sub": "ong-norte",
        "aud": f"{traffic.hub}/oauth/token",
        "exp": int(time.time()) + 200,
        "jti": traffic.word("jti") + str(uuid4()),
        "name": traffic.word("jti", "name"),
    }
    token = make_jwt_es384(pem, {"kid": jwk_of(pem)["kid"], "typ": "JWT"}, claims)
    form = (
        f"grant_type=client_credentials&client_assertion_type={quote(ASSERTION_TYPE)}"
        f"&client_assertion={token}&client_id={traffic.word('client_id')}"
    )
    kind = "application/x-www-form-urlencoded"
    return await traffic.call(
        "POST", "/oauth/token", form.encode(), org=None, what="jti",
        headers={"Content-Type": kind},
    )  # fmt: skip
