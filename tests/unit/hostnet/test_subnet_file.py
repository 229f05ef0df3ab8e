"""subnet.env: byte for byte as flannel writes it, and read back with all that people put in it."""

import os
from pathlib import Path

import pytest

from flannel_sdk.hostnet.subnet_file import (
    read_previous_networks,
    read_previous_subnets,
    render_subnet_file,
    write_subnet_file,
)
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    NetworkConfig,
    Prefix,
    SubnetPool,
)


def pool(network: str, length: int) -> SubnetPool:
    prefix = Prefix.parse(network)
    return SubnetPool(prefix, length, prefix.address, prefix.address)


V4 = pool("10.5.0.0/16", 24)
V6 = pool("fc00::/48", 64)


def lease(v4: str | None, v6: str | None) -> Lease:
    subnets = ByFamily(Prefix.parse(v4) if v4 else None, Prefix.parse(v6) if v6 else None)
    return Lease(subnets, LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.1"))))


def test_dual_stack_has_flannels_names_order_and_first_hosts() -> None:
    config = NetworkConfig(ByFamily(V4, V6))
    text = render_subnet_file(config, lease("10.5.34.0/24", "fc00:0:0:7::/64"), 1430, ip_masq=True)
    assert text == (
        "FLANNEL_NETWORK=10.5.0.0/16\n"
        "FLANNEL_SUBNET=10.5.34.1/24\n"
        "FLANNEL_IPV6_NETWORK=fc00::/48\n"
        "FLANNEL_IPV6_SUBNET=fc00:0:0:7::1/64\n"
        "FLANNEL_MTU=1430\n"
        "FLANNEL_IPMASQ=true\n"
    )


def test_one_family_has_no_lines_of_the_other() -> None:
    v4 = render_subnet_file(
        NetworkConfig(ByFamily(V4)), lease("10.5.34.0/24", None), 1450, ip_masq=False
    )
    v6 = render_subnet_file(
        NetworkConfig(ByFamily(None, V6)), lease(None, "fc00:0:0:7::/64"), 1430, ip_masq=False
    )
    assert "IPV6" not in v4
    assert v4.endswith("FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n")
    assert v6.startswith("FLANNEL_IPV6_NETWORK=")
    assert "FLANNEL_NETWORK" not in v6


def test_write_replaces_at_once_with_mode_0644_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "run" / "flannel" / "subnet.env"
    previous = os.umask(0o077)
    try:
        write_subnet_file(path, "A=1\n")
        write_subnet_file(path, "A=2\n")
    finally:
        os.umask(previous)
    assert path.read_text() == "A=2\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["subnet.env"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "subnet.env"
    path.write_text("A=1\n")
    with pytest.raises(UnicodeEncodeError):
        write_subnet_file(path, "A=\N{SNOWMAN}\n")
    assert path.read_text() == "A=1\n"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "v4", "v6"),
    [
        ("FLANNEL_SUBNET=10.5.34.1/24\n", "10.5.34.0/24", None),
        ("export FLANNEL_SUBNET='10.5.34.1/24'\n# FLANNEL_SUBNET=x\n", "10.5.34.0/24", None),
        ("FLANNEL_IPV6_SUBNET=fc00:0:0:7::1/64\n", None, "fc00:0:0:7::/64"),
        ("FLANNEL_SUBNET=garbage,10.5.34.1/24\n", "10.5.34.0/24", None),
        (
            "FLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_IPV6_SUBNET=fc00:0:0:7::1/64\n",
            "10.5.34.0/24",
            "fc00:0:0:7::/64",
        ),
    ],
)
def test_previous_subnets_are_read(
    tmp_path: Path, text: str, v4: str | None, v6: str | None
) -> None:
    path = tmp_path / "subnet.env"
    path.write_text(text)
    assert read_previous_subnets(path) == lease(v4, v6).subnets


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FLANNEL_SUBNET=\n",
        "FLANNEL_SUBNET=10.5.34.1/24,10.5.35.1/24\n",
        "FLANNEL_SUBNET=fc00::1/64\n",
        "FLANNEL_SUBNET\n",
        "\x00\xff",
    ],
)
def test_no_single_previous_subnet_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "subnet.env"
    path.write_text(text)
    assert read_previous_subnets(path) is None
    assert read_previous_subnets(tmp_path / "absent") is None


def test_previous_networks_are_read_with_their_subnets(tmp_path: Path) -> None:
    path = tmp_path / "subnet.env"
    path.write_text(
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_IPV6_NETWORK=fc00::/48\n"
    )
    assert read_previous_networks(path) == [
        (Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.34.0/24"))
    ]
    assert read_previous_networks(tmp_path / "absent") == []
