"""PROTOCOL.md's messages are those that are spoken."""

import json
import re
from pathlib import Path

from flannel_sdk_exec.messages import (
    decode,
    lease_object,
    read_error,
    read_publish,
    read_refused,
    read_registered,
    register_message,
)

from flannel_sdk.errors import PermanentError
from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import (
    ByFamily,
    ExternalInterface,
    IPAddress,
    Lease,
    LeaseAttrs,
    NetworkConfig,
    Prefix,
)

PAGE = Path(__file__).parents[1] / "PROTOCOL.md"
BLOCKS = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
MESSAGES = {message["type"]: message for message in map(json.loads, BLOCKS)}

IPS = ByFamily(IPAddress.parse("192.0.2.1"))
CONTEXT = BackendContext(ExternalInterface("eth0", 2, 1500, IPS, IPS), None)
CONFIG = NetworkConfig.parse('{"Network": "10.5.0.0/16", "Backend": {"Type": "exec"}}')
OURS = Lease(
    ByFamily(Prefix.parse("10.5.1.0/24")), LeaseAttrs(IPS, "exec", ByFamily('{"key":"ours"}'))
)
THEIRS = Lease(
    ByFamily(Prefix.parse("10.5.2.0/24")),
    LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.2")), "exec", ByFamily('{"key":"theirs"}')),
)


def test_what_the_agent_says() -> None:
    told = register_message(CONTEXT, CONFIG, {"Colour": "blue"}, None)
    assert MESSAGES["register"] == told
    assert MESSAGES["lease"] == {"type": "lease", "lease": lease_object(OURS)}
    assert MESSAGES["update"]["changed"] == [lease_object(THEIRS)]


def test_what_a_program_says() -> None:
    assert read_publish(MESSAGES["publish"], IPS) == OURS.attrs
    assert read_registered(MESSAGES["registered"], CONTEXT, OURS) == 1450
    assert read_refused(MESSAGES["ack"]) == [
        (ByFamily(Prefix.parse("10.5.9.0/24")), "its key is too short")
    ]
    assert type(read_error(MESSAGES["error"])) is PermanentError


def test_each_message_of_a_line_is_one() -> None:
    lines = re.findall(r"`(\{\"type\".*?\})`", PAGE.read_text(encoding="utf-8"))
    assert {decode(line.encode())["type"] for line in lines} == {"ping", "pong", "status"}
