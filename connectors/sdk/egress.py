"""Which addresses the hub may connect to.

Pure rules against being sent to our own insides (SSRF). It guards that an address, once unwrapped
from its IPv6 disguises, is global, or lies in a private network that the operator listed.
Resolving names and connecting to exactly the checked address are left to `http`.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from connectors.sdk.errors import Refuse

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
DENIED: Final[tuple[Network, ...]] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("240.0.0.0/4"),
    IPv6Network("::/96"),
    IPv6Network("100::/64"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
    IPv6Network("5f00::/16"),
    IPv6Network("fec0::/10"),
)
"""Never partners, although this Python's `is_global` says yes to some of them."""


def private_networks(setting: str) -> tuple[Network, ...]:
    """The networks of `EGRESS_PRIVATE_NETWORKS`, separated by commas; ValueError if malformed."""
    return tuple(ip_network(part.strip()) for part in setting.split(",") if part.strip())


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside a mapped, NAT64 or 6to4 one; any other is itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if any(address in network for network in NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    return address


def is_private(text: str, private: Sequence[Network]) -> bool:
    """Whether a literal address lies in a listed private network."""
    address = unwrapped(ip_address(text))
    return any(address in network for network in private if network.version == address.version)


def is_allowed(text: str, private: Sequence[Network]) -> bool:
    """Whether a literal address may be connected to."""
    if is_private(text, private):
        return True
    address = unwrapped(ip_address(text))
    denied = any(address in n for n in DENIED if n.version == address.version)
    return address.is_global and not address.is_multicast and not denied


def check_url(url: str, private: Sequence[Network]) -> tuple[str, int, bool]:
    """Host, port and whether it is TLS; Refuse for any form that no partner record may have.

    Plain HTTP and other ports than 443 are for listed private networks only (the caller checks
    the resolved addresses of such a URL with `is_private`).
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise Refuse("address-not-allowed", "connector.base_url") from None
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    wrong = parts.username or parts.password or parts.fragment or not host
    wrong = wrong or (not is_literal(host) and _ends_in_a_number(host))
    if wrong or parts.scheme not in {"http", "https"}:
        raise Refuse("address-not-allowed", "connector.base_url")
    if not private and (not secure or port not in {None, 443}):
        raise Refuse("address-not-allowed", "connector.base_url")
    return host, port or (443 if secure else 80), secure


def is_literal(host: str) -> bool:
    """Whether a host is an address in its one canonical spelling."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _ends_in_a_number(host: str) -> bool:
    """Spellings such as `127.1` or `0x7f.1`, which resolvers and libraries read as addresses."""
    last = host.rstrip(".").rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")
