"""What importing costs, and that it touches nothing before it is asked to."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

pytestmark = pytest.mark.slow

IMPORTS = """
import json, os, resource, sys
import flannel_sdk.agent
def now():
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(open("/proc/self/statm").read().split()[1])
    return used.ru_utime + used.ru_stime, pages * resource.getpagesize() / 2**20
before = now()
import flannel_sdk_etcd
early = sorted({name.partition(".")[0] for name in sys.modules} & {"grpc", "google"})
untouched = not any(name.startswith("GRPC_") for name in os.environ)
flannel_sdk_etcd.EtcdSubnetManager(flannel_sdk_etcd.EtcdOptions())
after = now()
alone = os.environ.get("GRPC_VERBOSITY")
flannel_sdk_etcd.plugin.open(flannel_sdk_etcd.EtcdOptions())
print(json.dumps({
    "early": early, "untouched": untouched, "fork": os.environ["GRPC_ENABLE_FORK_SUPPORT"],
    "alone": alone, "opened": os.environ["GRPC_VERBOSITY"],
    "seconds": after[0] - before[0], "mebibytes": after[1] - before[1],
}))
"""


def told(**environment: str) -> Mapping[str, object]:
    inherited = {name: value for name, value in os.environ.items() if "GRPC" not in name}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_the_package_alone_loads_neither_grpc_nor_protobuf() -> None:
    found = told()
    assert found["early"] == []
    assert found["untouched"] is True


def test_the_client_loads_within_its_limits() -> None:
    # The best of three: a loaded machine only makes it look slower.
    seconds, mebibytes = [], []
    for _ in range(3):
        found = told()
        assert isinstance(found["seconds"], float)
        assert isinstance(found["mebibytes"], float)
        seconds.append(found["seconds"])
        mebibytes.append(found["mebibytes"])
    assert min(seconds) <= 0.3
    assert min(mebibytes) <= 25


def test_grpcs_fork_handlers_are_off_unless_the_user_has_said_otherwise() -> None:
    assert told()["fork"] == "0"
    assert told(GRPC_ENABLE_FORK_SUPPORT="1")["fork"] == "1"


def test_grpcs_log_is_off_where_the_store_is_opened_by_name_and_nobody_has_said_otherwise() -> None:
    found = told()
    assert (found["alone"], found["opened"]) == (None, "NONE")
    assert told(GRPC_VERBOSITY="INFO")["opened"] == "INFO"
