"""What the startup commands are given, what is published, and how their failures are said."""

import asyncio
import json
import os
import time
from pathlib import Path

import pytest
from flannel_sdk_extension import plugin

from flannel_sdk.errors import ConfigError, RetryableError
from flannel_sdk.interfaces import CONTRACT_VERSION, BackendContext, BackendPlugin, Network
from flannel_sdk.model import (
    ByFamily,
    ExternalInterface,
    Family,
    IPAddress,
    LeaseAttrs,
    Prefix,
    Subnets,
)
from flannel_sdk.testing.scripted import ScriptedLeases
from flannel_sdk.testing.waiting import eventually
from tests.overlay import V4, V6, config

IPS = ByFamily(IPAddress.parse("192.0.2.1"), IPAddress.parse("2001:db8::1"))
SUBNETS: Subnets = ByFamily(Prefix.parse("10.5.1.0/24"), Prefix.parse("fd00:5:1::/64"))
CONTEXT = BackendContext(ExternalInterface("eth0", 2, 1500, IPS, IPS), None)


async def register(*families: Family, **options: object) -> tuple[Network, ScriptedLeases]:
    leases = ScriptedLeases(SUBNETS if len(families) == 2 else SUBNETS._replace(ipv6=None))
    settings = config("extension", *families, **options)
    return await plugin.create(CONTEXT).register_network(settings, leases), leases


def test_the_plugin_says_its_contract() -> None:
    assert isinstance(plugin, BackendPlugin)
    assert plugin.contract_version == CONTRACT_VERSION


async def test_what_the_first_command_prints_is_published() -> None:
    network, leases = await register(
        V4, PreStartupCommand="echo noise >&2; printf '\\n  \"a\" <b> é\\nc \\n'"
    )
    text = json.dumps('"a" <b> é\nc', ensure_ascii=False)
    assert leases.published == [
        LeaseAttrs(IPS._replace(ipv6=None), "extension", ByFamily(text, None))
    ]
    assert network.mtu == 1500


async def test_without_the_first_command_nothing_is_published() -> None:
    _, leases = await register(V4, V6)
    assert leases.published == [LeaseAttrs(IPS, "extension")]


async def test_d31_the_second_command_is_told_both_families(tmp_path: Path) -> None:
    names = ("NETWORK", "IPV6NETWORK", "SUBNET", "IPV6SUBNET", "PUBLIC_IP", "PUBLIC_IPV6")
    script = "; ".join(f"echo {name}=${{{name}-unset}}" for name in names)
    told = tmp_path / "told"
    await register(V4, V6, PostStartupCommand=f"({script}) > {told}")
    assert told.read_text().split() == [
        "NETWORK=10.5.0.0/16",
        "IPV6NETWORK=fd00:5::/48",
        "SUBNET=10.5.1.0/24",
        "IPV6SUBNET=fd00:5:1::/64",
        "PUBLIC_IP=192.0.2.1",
        "PUBLIC_IPV6=2001:db8::1",
    ]


async def test_d31_a_family_that_is_not_there_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBLIC_IPV6", "left over")
    told = tmp_path / "told"
    script = f"echo ${{IPV6SUBNET-unset}} ${{PUBLIC_IPV6-unset}} > {told}"
    await register(V4, PostStartupCommand=script)
    assert told.read_text() == "unset unset\n"


async def test_a_list_needs_no_shell(tmp_path: Path) -> None:
    target = tmp_path / "a file; not two $(true)"
    await register(V4, PostStartupCommand=["touch", str(target)])
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo one; echo 'no device' >&2; echo; exit 3", "exit code 3: no device"),
        ("echo only; false", "exit code 1: only"),
        ("exit 1", "exit code 1, and printed nothing"),
        ("kill -9 $$", "was ended by signal 9, and printed nothing"),
        ("printf '\\033[31mred'; exit 1", r"exit code 1: \?\[31mred"),
        ("printf '%01000d' 7; exit 1", "exit code 1: 0{200}$"),
    ],
)
@pytest.mark.parametrize("name", ["PreStartupCommand", "PostStartupCommand"])
async def test_a_failure_ends_with_the_commands_last_words(
    name: str, script: str, problem: str
) -> None:
    with pytest.raises(RetryableError, match=f"^Backend.{name} .*{problem}"):
        await register(V4, **{name: script})


async def test_d31_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"sleep 100 & echo $! > {file}; wait"
    with pytest.raises(RetryableError, match="did not end within 1 s and was killed"):
        await register(V4, PreStartupCommand=script, Timeout=1)
    exe = Path(f"/proc/{file.read_text().strip()}/exe")
    await eventually(lambda: not exe.exists(), "it has ended")


async def test_the_loop_goes_on_while_a_command_works() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    beating = asyncio.create_task(beat())
    started = time.monotonic()
    await register(V4, PreStartupCommand="sleep 0.3")
    assert time.monotonic() - started >= 0.3
    assert beats > 5
    beating.cancel()
    await asyncio.wait([beating])


async def test_a_program_may_stay_in_the_background(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    started = time.monotonic()
    _, leases = await register(V4, PreStartupCommand=f"sleep 100 & echo $! > {file}; echo up")
    assert time.monotonic() - started < 10
    assert leases.published[0].backend_data.ipv4 == '"up"'
    pid = int(file.read_text())
    assert Path(f"/proc/{pid}/exe").exists()
    os.kill(pid, 9)


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("head -c 70000 /dev/zero | tr '\\0' x", "prints more than 65536 bytes"),
        ("printf '\\377'", "prints what is not UTF-8"),
    ],
)
async def test_what_cannot_be_published_is_refused(script: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        await register(V4, PreStartupCommand=script)
    assert caught.value.key == "Backend.PreStartupCommand"


async def test_the_shutdown_command_is_said_to_be_never_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await register(V4, ShutdownCommand=f"touch {tmp_path}/run")
    assert "ShutdownCommand is never run" in caplog.text
    assert list(tmp_path.iterdir()) == []
