"""What the probes prove: a table of answers, and the one layer that each of them blames."""

from typing import Any

import pytest

from flannel_sdk.doctor.findings import Finding, Layer, PathReport, PeerReport, Report, Severity
from flannel_sdk.doctor.probes import Target, targets
from flannel_sdk.doctor.wire_checks import check_paths
from flannel_sdk.model import Family, IPAddress, Prefix
from tests.unit.doctor.patients import PUBLIC_IP, SUBNET, patient

WELL = {
    "address": "10.5.2.0",
    "underlay_seconds": 0.001,
    "tunnel_seconds": 0.001,
    "full_mtu": True,
    "checksum_device": "closed",
    "checksum_software": "closed",
}
SILENT = WELL | {"tunnel_seconds": None, "full_mtu": None, "udp_port": "silent"}


def found_in(
    answers: dict[str, Any],
    *,
    port: int | None = 8472,
    report: Report | None = None,
    refusal: str | None = None,
) -> list[Finding]:
    path = PathReport("IPv4", PUBLIC_IP, **answers)
    peer = PeerReport([SUBNET], [PUBLIC_IP], [path])
    target = Target(
        peer, path, Family.IPV4, Prefix.parse(SUBNET), IPAddress.parse(PUBLIC_IP), refusal
    )
    sick = patient(dataplane={"udp_port": port})
    return list(check_paths(sick, [target], report or Report(), {SUBNET: "flannel.1"}))


def test_a_path_that_is_proved_has_no_finding() -> None:
    assert found_in(WELL) == []
    assert found_in(WELL | {"checksum_device": "refused"}) == []


@pytest.mark.parametrize(
    ("answers", "layer", "problem", "cure"),
    [
        (SILENT, Layer.UNDERLAY, "UDP port 8472 is dropped on the way", "Allow UDP port 8472"),
        (
            SILENT | {"underlay_seconds": None},
            Layer.UNDERLAY,
            "neither on the underlay nor",
            "ip route get 192.0.2.2",
        ),
        (SILENT | {"udp_port": "closed"}, Layer.PEER, "tunnel device is not there", "Start"),
        (SILENT | {"udp_port": "refused"}, Layer.UNDERLAY, "rejects UDP port 8472", "Allow UDP"),
        (SILENT | {"udp_port": "blocked"}, Layer.KERNEL, "does not send", "nft list ruleset"),
        (
            SILENT | {"checksum_device": "silent"},
            Layer.UNDERLAY,
            "offload of the underlay is broken",
            "ethtool -K eth0 tx off",
        ),
        (
            WELL | {"full_mtu": False, "largest_packet": 1350},
            Layer.UNDERLAY,
            "1350 bytes is the most",
            "Backend.MTU to 1400",
        ),
        (
            WELL | {"checksum_device": "silent"},
            Layer.TUNNEL,
            "checksum offload is broken",
            "ethtool -K flannel.1 tx-checksum-ip-generic off",
        ),
    ],
)
def test_each_answer_has_its_layer_and_its_cure(
    answers: dict[str, Any], layer: Layer, problem: str, cure: str
) -> None:
    (finding,) = found_in(answers)
    assert (finding.layer, finding.peer) == (layer, SUBNET)
    assert finding.severity is Severity.ERROR
    assert problem in finding.problem
    assert cure in finding.fix


def test_what_our_own_kernel_refuses_is_said_in_its_words() -> None:
    (finding,) = found_in(SILENT, refusal="Operation not permitted")
    assert finding.layer is Layer.KERNEL
    assert "Operation not permitted" in finding.problem


@pytest.mark.parametrize(
    "answers",
    [WELL | {"checksum_device": "silent", "checksum_software": "silent"}],
)
def test_what_is_not_proved_is_a_warning(answers: dict[str, Any]) -> None:
    (finding,) = found_in(answers)
    assert finding.severity is Severity.WARNING


def test_without_a_tunnel_silence_proves_nothing() -> None:
    (finding,) = found_in(SILENT | {"udp_port": None}, port=None)
    assert finding.severity is Severity.WARNING


def test_a_peer_that_is_blamed_already_is_not_blamed_again() -> None:
    report = Report([Finding(Layer.KERNEL, "No route.", "Add it.", peer=SUBNET)])
    assert found_in(SILENT, report=report) == []
    report = Report([Finding(Layer.KERNEL, "Odd.", "-", SUBNET, Severity.WARNING)])
    assert len(found_in(SILENT, report=report)) == 1


def test_each_peer_has_one_report_with_a_path_a_family() -> None:
    dual = {
        "subnets": [SUBNET, "fd00:5:0:2::/64"],
        "public_ips": [PUBLIC_IP, "2001:db8::2"],
    }
    first, second = targets(patient(peers=[dual]))
    assert first.peer is second.peer
    assert [path.public_ip for path in first.peer.paths] == [PUBLIC_IP, "2001:db8::2"]
    assert [path.family for path in first.peer.paths] == ["IPv4", "IPv6"]
