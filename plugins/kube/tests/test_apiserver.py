"""What the other tests stand on: an API server that answers, fails and ends as they are told."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from plugins.kube.tests import apiserver as apiservers
from plugins.kube.tests.api_control import ApiControl, Json, Refused, listed, mapping
from plugins.kube.tests.apiserver import ApiServer, find_program
from plugins.kube.tests.kubeconfigs import WAYS
from plugins.kube.tests.node_objects import realistic_node, realistic_nodes
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[3]
MERGE = "application/merge-patch+json"
UNAVAILABLE: Json = {"type": "NetworkUnavailable", "status": "False", "reason": "FlannelIsUp"}


def _refused(control: ApiControl, method: str, path: str, body: Json | None = None) -> int:
    return control.call(method, path, body, "application/strategic-merge-patch+json").status


def _conditions(node: Json) -> set[str]:
    return {str(one["type"]) for one in listed(mapping(node["status"]), "conditions")}


def _version(node: Json) -> str:
    return str(mapping(node["metadata"])["resourceVersion"])


def _annotations(node: Json) -> Json:
    return mapping(mapping(node["metadata"]).get("annotations", {}))


def test_users_may_do_what_their_roles_say(apiserver: ApiServer) -> None:
    apiserver.control.add_node("a", "10.0.1.0/24")
    patch: Json = {"metadata": {"annotations": {"x": "1"}}}
    flannel, nobody = apiserver.as_user("flannel"), apiserver.as_user("nobody")
    assert flannel.get_node("a")
    assert len(flannel.nodes()) == 1
    assert _refused(flannel, "PATCH", "/api/v1/nodes/a", patch) == 403
    assert _refused(flannel, "PATCH", "/api/v1/nodes/a/status", patch) == 200
    assert _refused(flannel, "DELETE", "/api/v1/nodes/a") == 403
    assert _refused(nobody, "GET", "/api/v1/nodes") == 403
    assert _refused(nobody, "PATCH", "/api/v1/nodes/a/status", patch) == 403
    assert _refused(apiserver.control.as_user("wrong"), "GET", "/api/v1/nodes") == 401


def test_a_status_patch_changes_what_it_names(apiserver: ApiServer) -> None:
    flannel = apiserver.as_user("flannel")
    apiserver.control.add_node("a", "10.0.1.0/24", annotations={"kept": "1", "gone": "1"})
    body: Json = {
        "metadata": {"annotations": {"new": "1", "gone": None}},
        "spec": {"podCIDR": "10.9.9.0/24"},
        "status": {"conditions": [UNAVAILABLE]},
    }
    node = flannel.patch_status("a", body)
    assert _annotations(node) == {"kept": "1", "new": "1"}
    assert mapping(node["spec"])["podCIDR"] == "10.0.1.0/24"
    assert _conditions(node) == {"Ready", "NetworkUnavailable"}


def test_a_merge_patch_wipes_other_conditions(apiserver: ApiServer) -> None:
    apiserver.control.add_node("a", "10.0.1.0/24")
    body: Json = {"status": {"conditions": [UNAVAILABLE]}}
    node = apiserver.as_user("flannel").patch_status("a", body, MERGE)
    assert _conditions(node) == {"NetworkUnavailable"}


def test_pod_cidrs_are_assigned_once(apiserver: ApiServer) -> None:
    apiserver.control.add_node("a")
    apiserver.control.assign_pod_cidrs("a", "10.0.1.0/24", "fd00:1::/64")
    with pytest.raises(Refused, match="may not change podCIDR") as caught:
        apiserver.control.assign_pod_cidrs("a", "10.0.2.0/24")
    assert caught.value.status == 422


def test_patches_of_old_versions_and_other_types_are_refused(apiserver: ApiServer) -> None:
    old = _version(apiserver.control.add_node("a"))
    apiserver.control.heartbeat("a")
    with pytest.raises(Refused) as conflict:
        apiserver.control.patch_status("a", {"metadata": {"resourceVersion": old}})
    assert conflict.value.status == 409
    with pytest.raises(Refused) as unsupported:
        apiserver.control.patch_status("a", {}, "application/json")
    assert unsupported.value.status == 415


@pytest.mark.slow
def test_kubeconfigs_let_their_users_in(apiserver: ApiServer) -> None:
    script = """
import sys, kubernetes
for path in sys.argv[1:]:
    client = kubernetes.config.new_client_from_config(path)
    try:
        print(len(kubernetes.client.CoreV1Api(client).list_node().items))
    except kubernetes.client.ApiException as error:
        print(error.status)
"""
    apiserver.control.add_node("a")
    configs = [apiserver.kubeconfig(user, how) for how in WAYS for user in ("flannel", "nobody")]
    done = subprocess.run(
        [sys.executable, "-c", script, *configs], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "403"] * len(WAYS)


def test_a_pod_is_let_in_by_its_service_account(apiserver: ApiServer) -> None:
    folder = apiserver.service_account()
    assert (folder / "ca.crt").read_text() == apiserver.ca.read_text()
    pod = apiserver.control.as_user((folder / "token").read_text())
    assert pod.nodes() == []
    apiserver.control.add_pod("kube-flannel", "flannel-1", "node-1")
    found = pod.ask("GET", "/api/v1/namespaces/kube-flannel/pods/flannel-1")
    assert mapping(found["spec"])["nodeName"] == "node-1"
    apiserver.control.ask(
        "DELETE", "/api/v1/namespaces/kube-flannel/pods/flannel-1?gracePeriodSeconds=0"
    )


@pytest.mark.slow
def test_a_revoked_token_ends_within_seconds(apiserver: ApiServer) -> None:
    pod = apiserver.control.as_user(apiserver.new_token(bound_to="short"))
    assert pod.nodes() == []
    apiserver.revoke("short")
    deadline = time.monotonic() + 20
    while pod.call("GET", "/api/v1/nodes").status != 401:
        assert time.monotonic() < deadline, "the token was not revoked"
        time.sleep(0.1)


@pytest.mark.slow
def test_watches_tell_each_change_and_end_when_the_server_is_killed(apiserver: ApiServer) -> None:
    since = apiserver.control.resource_version()
    events = apiserver.control.watch(f"resourceVersion={since}")
    apiserver.control.add_node("a", "10.0.1.0/24")
    apiserver.control.heartbeat("a")
    apiserver.control.delete_node("a")
    told = [next(events)["type"] for _ in range(3)]
    assert told == ["ADDED", "MODIFIED", "DELETED"]
    apiserver.kill()
    assert not apiserver.running
    assert list(events) == []
    with pytest.raises(OSError, match="refused"):
        apiserver.control.nodes()


@pytest.mark.slow
def test_what_was_not_seen_before_a_restart_is_gone(apiserver: ApiServer) -> None:
    apiserver.control.add_node("a", "10.0.1.0/24")
    since = apiserver.control.resource_version()
    for _ in range(3):
        apiserver.control.heartbeat("a")
    apiserver.restart()
    assert len(apiserver.control.nodes()) == 1
    event = next(iter(apiserver.control.watch(f"resourceVersion={since}")))
    assert event["type"] == "ERROR"
    assert (mapping(event["object"])["code"], mapping(event["object"])["reason"]) == (
        410,
        "Expired",
    )


def test_compaction_ends_pages_and_watches_of_before(nocache_apiserver: ApiServer) -> None:
    control = nocache_apiserver.control
    for name in ("a", "b", "c"):
        control.add_node(name)
    since = control.resource_version()
    page = control.ask("GET", "/api/v1/nodes?limit=2")
    token = mapping(page["metadata"])["continue"]
    control.heartbeat("a")
    control.heartbeat("b")
    nocache_apiserver.compact()
    event = next(iter(control.watch(f"resourceVersion={since}")))
    assert mapping(event["object"])["code"] == 410
    assert control.call("GET", f"/api/v1/nodes?limit=2&continue={token}").status == 410


@pytest.mark.slow
def test_a_server_ends_watches_by_itself(nocache_apiserver: ApiServer) -> None:
    since = nocache_apiserver.control.resource_version()
    begun = time.monotonic()
    assert list(nocache_apiserver.control.watch(f"resourceVersion={since}", 20)) == []
    assert 3 < time.monotonic() - begun < 15


def test_a_paused_server_is_silent_and_loses_nothing(apiserver: ApiServer) -> None:
    apiserver.pause()
    with pytest.raises(TimeoutError):
        next(iter(apiserver.control.watch("", timeout=0.3)))
    apiserver.resume()
    apiserver.control.add_node("a")
    assert len(apiserver.control.nodes()) == 1


@pytest.mark.slow
def test_each_test_begins_without_nodes(apiserver: ApiServer) -> None:
    apiserver.control.add_node("a")
    apiserver.kill()
    apiserver.restore()
    assert apiserver.control.nodes() == []


@pytest.mark.slow
def test_nodes_of_a_real_size_are_loaded_fast(apiserver: ApiServer) -> None:
    size = len(json.dumps(realistic_node("n00001", 1)))
    assert 7_000 < size < 9_500
    stopwatch = Stopwatch()
    apiserver.load_nodes(realistic_nodes(5_000))
    taken = stopwatch.seconds
    page = apiserver.control.ask("GET", "/api/v1/nodes?limit=1")
    assert mapping(page["metadata"])["remainingItemCount"] == 4_999
    assert taken < 30, f"{taken:.1f} s"


def test_loaded_nodes_are_as_good_as_created_ones(apiserver: ApiServer) -> None:
    apiserver.load_nodes([realistic_node("loaded", 1)])
    apiserver.control.add_nodes([realistic_node("created", 1)])
    loaded, created = (apiserver.control.get_node(name) for name in ("loaded", "created"))
    # who creates one through the API server gets a taint, too
    assert mapping(created["spec"]).items() >= mapping(loaded["spec"]).items()
    assert _conditions(loaded) == _conditions(created)
    assert _annotations(loaded) == _annotations(created)
    patched = apiserver.as_user("flannel").patch_status("loaded", {"metadata": {}})
    assert mapping(patched["metadata"])["uid"] == mapping(loaded["metadata"])["uid"]


def test_a_server_dies_with_its_test_process(apiserver_program: Path, tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from plugins.etcd.tests.certificates import Authority
from plugins.kube.tests.apiserver import ApiServer, ApiSetup
server = ApiServer(ApiSetup(Path(sys.argv[1]), Authority(Path(sys.argv[2]))))
server.start()
print(server.pid, server.etcd.member.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, apiserver_program, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) == 2
        folders = list(Path(tempfile.gettempdir()).glob(f"flannel-sdk-*-{owner.pid}-*"))
        assert len(folders) == 2
        os.kill(owner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a server outlived its test process"
        time.sleep(0.01)
    apiservers.remove_orphans()
    assert not any(folder.exists() for folder in folders if "-kube-" in folder.name)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_program_is_the_one_that_is_named_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(*parts: str) -> Path:
        path = tmp_path.joinpath(*parts, "kube-apiserver")
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    monkeypatch.setattr(apiservers, "_CACHE", tmp_path / "cache")
    assert find_program({"PATH": ""}) is None
    built = program("cache", "flannel-sdk", "kube-apiserver-1.20.2", "recipe-1")
    on_path, asset, named = program("path"), program("assets"), program("named")
    environ = {"PATH": "/nowhere"}
    assert find_program(environ) == built
    environ["PATH"] = str(on_path.parent)
    assert find_program(environ) == on_path
    environ["KUBEBUILDER_ASSETS"] = str(asset.parent)
    assert find_program(environ) == asset
    environ["KUBE_APISERVER"] = str(named)
    assert find_program(environ) == named
    with pytest.raises(AssertionError, match="KUBE_APISERVER names no program: /not/there"):
        find_program({"KUBE_APISERVER": "/not/there"})
