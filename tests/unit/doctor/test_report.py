"""What doctor prints: the JSON's shape, the exit code, the order, the bundle."""

import json
import tarfile
from pathlib import Path

import pytest

from flannel_sdk.cli.frame import main
from flannel_sdk.doctor.bundle import write_bundle
from flannel_sdk.doctor.examination import Examination
from flannel_sdk.doctor.findings import (
    Finding,
    Layer,
    PathReport,
    PeerReport,
    Report,
    Severity,
)
from flannel_sdk.errors import PermanentError
from tests.unit.doctor.patients import SUBNET, patient

SECRET = "hunter2-planted"


def test_the_json_has_this_shape() -> None:
    """Programs read it: what is here may get company, and no other shape."""
    report = Report(
        [
            Finding(Layer.TUNNEL, "Lost.", "Mend it.", peer=SUBNET),
            Finding(Layer.STORE, "Odd.", "Look.", severity=Severity.WARNING),
        ],
        [PeerReport([SUBNET], ["192.0.2.2"], [PathReport("IPv4", "192.0.2.2", "10.5.2.0")])],
        {"state": "running"},
    )
    assert json.loads(json.dumps(report.to_json())) == {
        "version": 1,
        "healthy": False,
        "node": {"state": "running"},
        "findings": [
            {
                "layer": "store",
                "severity": "warning",
                "peer": None,
                "problem": "Odd.",
                "fix": "Look.",
            },
            {
                "layer": "tunnel",
                "severity": "error",
                "peer": SUBNET,
                "problem": "Lost.",
                "fix": "Mend it.",
            },
        ],
        "peers": [
            {
                "subnets": [SUBNET],
                "public_ips": ["192.0.2.2"],
                "paths": [
                    {
                        "family": "IPv4",
                        "public_ip": "192.0.2.2",
                        "address": "10.5.2.0",
                        "underlay_seconds": None,
                        "tunnel_seconds": None,
                        "full_mtu": None,
                        "largest_packet": None,
                        "checksum_device": None,
                        "checksum_software": None,
                        "udp_port": None,
                    }
                ],
            }
        ],
    }
    assert [layer.value for layer in Layer] == [
        "daemon", "store", "desired", "kernel", "underlay", "tunnel", "peer",
    ]  # fmt: skip


def test_warnings_alone_are_healthy() -> None:
    assert Report([Finding(Layer.STORE, "Odd.", "Look.", severity=Severity.WARNING)]).healthy
    assert not Report([Finding(Layer.STORE, "Bad.", "Mend.")]).healthy


def test_without_a_daemon_that_is_said_and_the_bundle_still_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "bundle.tar.gz"
    arguments = ["doctor", "--status-socket", str(tmp_path / "no.sock"), "--bundle", str(bundle)]
    assert main(arguments) == 1
    printed = capsys.readouterr().out
    assert "error daemon: No daemon answers at" in printed
    assert "Start flannel-sdk daemon" in printed
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
    assert "flannel-sdk-bundle/report.json" in names
    assert "flannel-sdk-bundle/status.json" not in names
    assert "flannel-sdk-bundle/kernel/ip-route.txt" in names


def test_no_secret_gets_into_a_bundle(tmp_path: Path) -> None:
    sick = patient(
        status={"store": f"etcd:https://root:{SECRET}@192.0.2.1:2379"},
        store={"error": f"Authorization: Bearer {SECRET} was refused"},
    )
    sick.inspection = {**sick.inspection, "config": {"backend_options": {"PSK": SECRET}}}
    bundle = tmp_path / "bundle.tar.gz"
    bundle.write_text("an older one, which anybody may read")
    bundle.chmod(0o644)
    write_bundle(bundle, Examination(Report(), sick))
    assert list(tmp_path.iterdir()) == [bundle]
    assert bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            assert SECRET.encode() not in content.read(), member.name


def test_a_bundle_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"cannot write the bundle .*; name another file"):
        write_bundle(tmp_path / "no" / "such", Examination(Report(), None))
