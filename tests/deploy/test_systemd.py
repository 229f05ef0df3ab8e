"""The systemd unit: systemd understands it, and the daemon lives with the rights that it leaves."""

import configparser
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flannel_sdk.testing.namespaces import Namespace, run

UNIT = Path(__file__).parents[2] / "deploy/systemd/flannel-sdk.service"
ANALYZE = shutil.which("systemd-analyze")

needs_analyze = pytest.mark.skipif(
    ANALYZE is None, reason="there is no systemd-analyze here: install the package systemd"
)


@needs_analyze
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wrong = tmp_path / UNIT.name
    wrong.write_text(UNIT.read_text().replace("Restart=always", "Restart=perhaps"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(wrong)], capture_output=True, text=True, check=False
    )
    assert "restart specifier" in done.stderr, "it reads what it is given"


@needs_analyze
def test_systemd_calls_its_exposure_ok() -> None:
    out = run(f"systemd-analyze security --no-pager --offline=true {UNIT}")
    found = re.search(r"Overall exposure level for flannel-sdk.service: ([0-9.]+)", out)
    assert found is not None
    assert float(found[1]) < 4.0, "what systemd calls OK"


def service() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation says
    unit.read_string(UNIT.read_text())
    return unit["Service"]


@pytest.mark.root
@pytest.mark.slow
def test_the_daemon_needs_no_more_rights_than_it_leaves(netns: Namespace, tmp_path: Path) -> None:
    left = [
        name.removeprefix("CAP_").lower() for name in service()["CapabilityBoundingSet"].split()
    ]
    assert left == ["net_admin", "net_raw", "bpf", "perfmon"]
    netns.add_veth("eth0", "192.0.2.1/24")
    store = ["--store", "sqlite", "--store-option", f"path={tmp_path / 'net.db'}"]
    program = [sys.executable, "-m", "flannel_sdk.cli"]
    subprocess.run(
        [*program, "config", "put", "-", *store],
        input='{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}',
        text=True,
        check=True,
        capture_output=True,
    )
    subnet_file = tmp_path / "subnet.env"
    daemon = subprocess.Popen(
        [
            *("ip", "netns", "exec", netns.name, "setpriv", "--no-new-privs"),
            *("--bounding-set", ",".join(["-all", *(f"+{name}" for name in left)])),
            *(*program, "daemon", *store, "--iface", "eth0", "--ip-masq", "--ip-blackhole-route"),
            *("--subnet-file", str(subnet_file), "--status-socket", str(tmp_path / "s.sock")),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not subnet_file.exists() and daemon.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert subnet_file.exists(), "it has ended" if daemon.poll() is not None else "it is late"
        assert "flannel.1" in netns.ip("link show")
    finally:
        daemon.send_signal(signal.SIGTERM)
        _, log = daemon.communicate(timeout=15)
    assert daemon.returncode == 0
    assert "not permitted" not in log, log
