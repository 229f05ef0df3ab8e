"""What status, peers and plan print, and what they say where no daemon answers."""

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from flannel_sdk.cli import main
from flannel_sdk.cli.status import status_rows
from flannel_sdk.cli.tables import remaining

STATUS = {
    "state": "running",
    "store": "sqlite:/var/lib/flannel/net.db",
    "backend": "vxlan",
    "interface": {"name": "eth0", "mtu": 1500, "public_ips": ["192.0.2.1"]},
    "lease": {"subnets": ["10.5.1.0/24"], "expires_at": None, "permanent": True},
    "mtu": 1450,
    "feed": {"peers": 2, "refused": {"it overlaps": 1}, "malformed": 0},
    "keeper": {"renewals": 1, "reacquisitions": 0},
    "dataplane": {
        "desired": {"route": 2, "neighbour": 2, "device": 0},
        "failed": {"count": 0, "reasons": {}},
        "repaired": {"route": 3},
        "peers": {"known": 2, "refused": {}},
    },
}


def test_status_says_first_what_people_ask_first() -> None:
    rows = dict(status_rows(STATUS))
    assert rows["underlay"] == "eth0 (192.0.2.1)"
    assert rows["lease ends"] == "never"
    assert rows["entries refused"] == "1 it overlaps"
    assert rows["kernel objects"] == "2 route, 2 neighbour"
    assert rows["repaired in the kernel"] == "3 route"
    assert rows["failed in the kernel"] == 0


def test_a_data_path_is_named_with_its_reason_and_what_it_did() -> None:
    counts = {"sent_packets": 3, "sent_bytes": 300, "received_packets": 2, "received_bytes": 200}
    datapath = {
        "path": "userspace",
        "why": "not kernel: no eBPF here",
        "counters": {"userspace": counts | {"dropped_no_peer": 4, "dropped_ttl": 0}},
    }
    rows = dict(status_rows(STATUS | {"dataplane": {"datapath": datapath}}))
    assert rows["data path"] == "userspace (not kernel: no eBPF here)"
    said = "sent 3 packets (300 bytes), received 2 packets (200 bytes)"
    assert rows["by userspace"] == said
    assert rows["dropped by userspace"] == "4 no peer"


def test_firewall_rules_are_told_of_where_there_are_any() -> None:
    none = {"masquerade": False, "forward": False, "settled": True}
    assert not any("firewall" in row for row in dict(status_rows(STATUS | {"firewall": none})))
    told: dict[str, object] = {
        "place": "table inet flannel-sdk-10.5.0.0/16",
        "masquerade": True,
        "forward": True,
        "settled": True,
        "repairs": {"table missing": 2},
        "problem": "install iptables",
    }
    rows = dict(status_rows(STATUS | {"firewall": told}))
    assert rows["firewall rules"] == "masquerade and forward: table inet flannel-sdk-10.5.0.0/16"
    assert rows["firewall repaired"] == "2 table missing"
    assert rows["firewall problem"] == "install iptables"
    waiting = told | {"settled": False, "place": None, "forward": False}
    rows = dict(status_rows(STATUS | {"firewall": waiting}))
    assert rows["firewall rules"] == "masquerade: not set yet"
    without = told | {"masquerade": False, "place": None, "given_up": True}
    rows = dict(status_rows(STATUS | {"firewall": without}))
    assert rows["firewall rules"] == "forward: given up"


@pytest.mark.parametrize(
    ("name", "row"),
    [("restart_needed", "needs a restart"), ("refused", "configuration refused")],
)
def test_a_configuration_that_is_not_applied_is_said(name: str, row: str) -> None:
    nothing = {"restart_needed": None, "refused": None}
    assert row not in dict(status_rows(STATUS | {"config": nothing}))
    told = STATUS | {"config": nothing | {name: "the network is another"}}
    assert dict(status_rows(told))[row] == "the network is another"


def test_status_of_a_daemon_that_just_started() -> None:
    starting = dict.fromkeys(STATUS) | {"state": "starting", "store": "memory:x"}
    assert dict(status_rows(starting)) == {
        "state": "starting",
        "store": "memory:x",
        "backend": None,
    }


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "expired"), (301, "in 5 min"), (86399, "in 24 h")]
)
def test_remaining_time_in_words(seconds: float, words: str) -> None:
    assert remaining(time.time() + seconds, permanent=False) == words


def test_a_lease_whose_end_is_not_told_is_no_reservation() -> None:
    assert remaining(None, permanent=False) == "unknown"
    assert remaining(None, permanent=True) == "never"


def serve_once(path: Path, answer: object) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            connection.recv(1000)
            connection.sendall(json.dumps(answer).encode() + b"\n")

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


PEER = {
    "subnets": ["10.5.2.0/24"],
    "public_ips": ["192.0.2.2"],
    "backend": "vxlan",
    "backend_data": ['{"VNI":1}'],
}
CHANGE = {"action": "add", "kind": "route", "subject": "10.5.2.0/24 via 10.5.2.0"}


@pytest.mark.parametrize(
    ("command", "answer", "shown"),
    [
        ("peers", [PEER], "192.0.2.2"),
        ("plan", [CHANGE], "+  route  10.5.2.0/24 via 10.5.2.0"),
        ("plan", [], "nothing to change"),
        ("status", STATUS, "10.5.1.0/24"),
    ],
)
def test_answers_are_tables_for_people_and_json_for_programs(
    command: str,
    answer: object,
    shown: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, flags in enumerate([[], ["--json"]]):
        path = tmp_path / f"{number}.sock"
        thread = serve_once(path, answer)
        assert main([command, "--status-socket", str(path), *flags]) == 0
        thread.join()
        out = capsys.readouterr().out
        if flags:
            assert json.loads(out) == answer
        else:
            assert shown in out


def test_no_daemon_and_an_error_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--status-socket", str(tmp_path / "none.sock")]) == 1
    assert "is flannel-sdk daemon running" in capsys.readouterr().err
    path = tmp_path / "agent.sock"
    thread = serve_once(path, {"error": "there is no plan"})
    assert main(["plan", "--status-socket", str(path)]) == 1
    thread.join()
    assert capsys.readouterr().err == "flannel-sdk: there is no plan\n"
