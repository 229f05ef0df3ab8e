"""Hypothesis strategies for model values."""

from hypothesis import strategies as st

from flannel_sdk.model import ByFamily, Family, IPAddress, Lease, LeaseAttrs, Prefix, Subnets

FAMILIES = st.sampled_from(Family)


def addresses(family: Family) -> st.SearchStrategy[IPAddress]:
    return st.integers(0, 2**family.bits - 1).map(lambda value: IPAddress.from_int(value, family))


def public_addresses(family: Family) -> st.SearchStrategy[IPAddress]:
    return addresses(family).filter(any)


@st.composite
def prefixes(draw: st.DrawFn, family: Family) -> Prefix:
    length = draw(st.integers(1, family.bits))
    return Prefix(draw(addresses(family)), length).masked()


@st.composite
def subnets(draw: st.DrawFn) -> Subnets:
    ipv4 = draw(st.none() | prefixes(Family.IPV4))
    ipv6 = draw(prefixes(Family.IPV6) if ipv4 is None else st.none() | prefixes(Family.IPV6))
    return ByFamily(ipv4, ipv6)


JSON_TEXTS = st.sampled_from(
    [
        '{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}',
        '{"PublicKey":"q0P+/w==","Port":51820}',
        '"text"',
        '"a \\"quoted\\" one"',
        "1.50",
        "[1,2,{}]",
        "{}",
        '{"a":{"b":null}}',
        "true",
        '{"n":1,"n":2}',
    ]
)


@st.composite
def attrs(draw: st.DrawFn) -> LeaseAttrs:
    return LeaseAttrs(
        ByFamily(
            draw(st.none() | public_addresses(Family.IPV4)),
            draw(st.none() | public_addresses(Family.IPV6)),
        ),
        draw(st.sampled_from(["", "vxlan", "host-gw", "Üdp", "a<b>&c\u2028", 'x"y\\\n\b'])),
        ByFamily(draw(st.none() | JSON_TEXTS), draw(st.none() | JSON_TEXTS)),
    )


@st.composite
def leases(draw: st.DrawFn) -> Lease:
    return Lease(
        draw(subnets()),
        draw(attrs()),
        draw(st.none() | st.floats(0, 2e9)),
        draw(st.integers(0, 2**62)),
    )
