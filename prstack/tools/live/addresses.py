"""Which IP addresses are public.

IPv4: outside every block below, and global to the standard library as well. IPv6: inside 2000::/3 and outside the blocks below, or
NAT64's well-known prefix around a public IPv4 address, which is how an IPv6-only network reaches IPv4. All other forms that carry an
IPv4 address (mapped, compatible, translated, 6to4, Teredo) are refused whatever they carry: no public site needs them.
"""

from __future__ import annotations

import ipaddress

_SPECIAL = {
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by a provider (CGNAT)",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "a cloud platform's own",
    "169.254.0.0/16": "link-local (cloud metadata lies there)",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "a 6to4 relay",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "for benchmarks",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::ffff:0:0/96": "an IPv4 address in IPv6",
    "::ffff:0:0:0/96": "an IPv4 address in IPv6",
    "::/96": "an IPv4 address in IPv6",
    "64:ff9b:1::/48": "a local NAT64",
    "2001::/32": "Teredo",
    "2001::/23": "reserved",
    "2001:db8::/32": "for documentation",
    "2002::/16": "6to4",
    "3fff::/20": "for documentation",
    "fc00::/7": "private",
    "fe80::/10": "link-local",
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
"""Special-purpose blocks; the first that holds an address says what it is."""
_BLOCKS = [(ipaddress.ip_network(block), name) for block, name in _SPECIAL.items()]
_NAT64, _GLOBAL = ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("2000::/3")


def not_public(address: str) -> str:
    """Why an address may not be connected to ("loopback", …); empty for a public one. Never raises."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "not an IP address"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return "of one network interface"
        if ip in _NAT64:
            inner = not_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
            return inner and f"NAT64 of an address that is {inner}"
    for block, name in _BLOCKS:
        if ip.version == block.version and ip in block:
            return name
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL:
        return "reserved"
    return "" if ip.is_global else "not global"


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own, in plain form. Never raises."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
