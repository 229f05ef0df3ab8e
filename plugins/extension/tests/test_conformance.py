"""extension, with commands that route as host-gw does, holds what the backend kit asks for."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from flannel_sdk.testing import BackendConformance

ADD = """
route() { [ -z "$2" ] || [ -n "$(ip $1 route show $2 via $3)" ] || ip $1 route replace $2 via $3; }
route -4 "$SUBNET" "$PUBLIC_IP" && route -6 "$IPV6SUBNET" "$PUBLIC_IPV6"
"""
REMOVE = """
[ -z "$SUBNET" ] || ip route del $SUBNET via $PUBLIC_IP
[ -z "$IPV6SUBNET" ] || ip -6 route del $IPV6SUBNET via $PUBLIC_IPV6
"""


class TestExtension(BackendConformance):
    backend = "extension"
    memory_kernel = False

    @pytest.fixture
    def backend_options(self, tmp_path: Path) -> Mapping[str, object]:
        """With a state file for each test, which its nodes share as they share the file system."""
        return {
            "SubnetAddCommand": ADD,
            "SubnetRemoveCommand": REMOVE,
            "Repeat": 1,
            "StateFile": str(tmp_path / "peers"),
        }
