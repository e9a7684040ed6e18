"""The hub never connects to its own insides."""

import socket
from typing import Any

import pytest

from connectors.sdk.egress import check_url, is_allowed, private_networks
from connectors.sdk.errors import Refuse
from connectors.sdk.http import Http, PinnedResolver

DISGUISED = [
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "ff02::1",
    "224.0.0.1",
    "192.0.0.8",
    "5f00::1",
    "::ffff:127.0.0.1",
    "169.254.169.254",
    "10.0.0.1",
    "::1",
]
SPELLED = ["127.1", "0x7f.1", "0177.0.0.1", "2130706433"]


@pytest.mark.parametrize("address", DISGUISED)
def test_an_address_that_leads_inside_is_refused_in_every_disguise(address: Any) -> None:
    assert not is_allowed(address, ())


@pytest.mark.parametrize("host", SPELLED)
async def test_a_host_that_the_resolver_turns_into_loopback_is_refused(host: Any) -> None:
    with pytest.raises(Refuse, match="address-not-allowed"):
        await PinnedResolver(()).resolve(host, 443, socket.AF_INET)


@pytest.mark.parametrize("host", SPELLED)
async def test_no_request_goes_to_a_spelled_loopback(host: Any) -> None:
    http = Http(())
    try:
        with pytest.raises(Refuse, match="address-not-allowed"):
            await http.send("GET", f"https://{host}/fhir", headers={})
    finally:
        await http.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://partner.example/fhir",
        "https://partner.example:8443/fhir",
        "https://user:word@partner.example/fhir",
        "https://partner.example/fhir#part",
        "ftp://partner.example/",
        "file:///etc/hosts",
        "https://partner.example:99999/",
    ],
)
def test_a_url_no_partner_record_may_have_is_refused(url: Any) -> None:
    with pytest.raises(Refuse, match="address-not-allowed"):
        check_url(url, ())


def test_a_listed_private_network_is_allowed_and_nothing_beside_it() -> None:
    listed = private_networks("127.0.0.0/8, fd00::/8")
    assert is_allowed("127.0.0.1", listed)
    assert is_allowed("::ffff:127.0.0.1", listed)
    assert is_allowed("fd00::7", listed)
    assert not is_allowed("10.0.0.1", listed)
    assert check_url("http://127.0.0.1:8091/fhir", listed) == ("127.0.0.1", 8091, False)


def test_public_addresses_are_allowed() -> None:
    assert is_allowed("190.24.1.1", ())
    assert is_allowed("2803:9800::1", ())
