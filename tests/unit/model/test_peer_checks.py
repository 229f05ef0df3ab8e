"""What others publish is judged by itself: network, public IP, families."""

import pytest

from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, NetworkConfig, Prefix
from flannel_sdk.model.peer_checks import PeerChecks

DUAL = NetworkConfig.parse('{"Network":"10.3.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}')
IPV4 = NetworkConfig.parse('{"Network":"10.3.0.0/16"}')


def lease(ipv4: str | None, ipv6: str | None, ip4: str | None, ip6: str | None) -> Lease:
    return Lease(
        ByFamily(
            None if ipv4 is None else Prefix.parse(ipv4),
            None if ipv6 is None else Prefix.parse(ipv6),
        ),
        LeaseAttrs(
            ByFamily(
                None if ip4 is None else IPAddress.parse(ip4),
                None if ip6 is None else IPAddress.parse(ip6),
            )
        ),
    )


OWN = lease("10.3.1.0/24", "fc00:0:0:1::/64", "192.0.2.1", "2001:db8::1")
S4, S6, P4, P6 = "10.3.2.0/24", "fc00:0:0:2::/64", "192.0.2.2", "2001:db8::2"


@pytest.mark.parametrize(
    ("config", "peer"),
    [
        (DUAL, lease(S4, S6, P4, P6)),
        (DUAL, lease(S4, None, P4, None)),
        (DUAL, lease(None, S6, None, P6)),
        (DUAL, lease(S4, S6, P4, None)),
        (IPV4, lease(S4, S6, P4, None)),
        (IPV4, lease(S4, "fd00::/64", P4, "::1")),
        (DUAL, lease("10.3.0.0/24", None, P4, None)),
        (DUAL, lease("10.3.255.255/32", None, "223.255.255.255", None)),
    ],
)
def test_good_peers(config: NetworkConfig, peer: Lease) -> None:
    assert PeerChecks(config, OWN).problem(peer) is None


@pytest.mark.parametrize(
    ("config", "peer", "said"),
    [
        (DUAL, lease("10.4.2.0/24", None, P4, None), "outside the network 10.3.0.0/16"),
        (DUAL, lease("10.2.255.0/24", None, P4, None), "outside the network"),
        (DUAL, lease("10.0.0.0/8", None, P4, None), "outside the network"),
        (DUAL, lease("10.3.0.0/15", None, P4, None), "outside the network"),
        (DUAL, lease("10.3.0.0/16", None, P4, None), "leaves nothing of the network 10.3.0.0/16"),
        (DUAL, lease(S4, "fd00::/64", P4, P6), "outside the network fc00::/48"),
        (DUAL, lease(S4, None, None, None), "no subnet with a public IP"),
        (DUAL, lease(S4, None, None, P6), "no subnet with a public IP"),
        (IPV4, lease(None, S6, None, P6), "no subnet with a public IP"),
        (DUAL, lease(S4, None, "192.0.2.1", None), "our own public IP 192.0.2.1"),
        (DUAL, lease(None, S6, None, "2001:db8::1"), "our own public IP"),
        *(
            (DUAL, lease(S4, None, address, None), f"public IP {address} is no unicast address")
            for address in ("127.0.0.1", "224.0.0.1", "0.1.2.3", "255.255.255.255", "240.0.0.1")
        ),
        *(
            (DUAL, lease(None, S6, None, address), f"public IP {address} is no unicast address")
            for address in ("::1", "ff02::1", "::ffff:7f00:1")
        ),
    ],
)
def test_bad_peers(config: NetworkConfig, peer: Lease, said: str) -> None:
    problem = PeerChecks(config, OWN).problem(peer)
    assert problem is not None
    assert said in problem
