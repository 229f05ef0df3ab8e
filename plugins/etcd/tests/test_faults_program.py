"""What ``flannel-sdk config`` says when etcd is not as it should be: one sentence, soon."""

import asyncio
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from plugins.etcd.tests.certificates import Authority, ClientFiles
from plugins.etcd.tests.load import put_config
from plugins.etcd.tests.proxy import OpenProxy
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd, claim_port
from tests.stopwatch import Stopwatch

pytestmark = [pytest.mark.server, pytest.mark.slow]

PASSWORD = "correct-horse"
SECONDS = 10.0
"""The default time for one call is 5 s; a start of the program takes another one."""


class Said(NamedTuple):
    code: int | None
    out: str
    error: str


async def config(*arguments: str | Path, action: tuple[str, ...] = ("show",)) -> Said:
    """Run ``flannel-sdk config`` with the etcd store."""
    stopwatch = Stopwatch()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "flannel_sdk.cli", "config", *action),
        *("--store", "etcd", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(process.communicate(), 30)
    assert stopwatch.seconds < SECONDS
    return Said(process.returncode, out.decode(), error.decode())


async def complaint(*arguments: str | Path, action: tuple[str, ...] = ("show",)) -> str:
    """The one sentence that it ends with, with code 1."""
    said = await config(*arguments, action=action)
    assert said.code == 1, said
    lines = said.error.splitlines()
    assert len(lines) == 1, said.error
    assert lines[0].startswith("flannel-sdk: ")
    assert PASSWORD not in said.error
    return lines[0]


def tls_flags(files: ClientFiles) -> list[str]:
    flags = [f"--etcd-cafile={files.ca}"]
    if files.cert:
        flags += [f"--etcd-certfile={files.cert}", f"--etcd-keyfile={files.key}"]
    return flags


async def test_a_configuration_is_put_and_shown(
    mtls_etcd: Cluster, prefix: str, authority: Authority, tmp_path: Path
) -> None:
    document = tmp_path / "net-conf.json"
    document.write_text('{"Network": "10.7.0.0/16", "Backend": {"Type": "host-gw"}}')
    there = [
        f"--etcd-endpoints={mtls_etcd.member.url}",
        f"--etcd-prefix={prefix}",
        *tls_flags(authority.client(label="program")),
    ]
    put = await config(*there, action=("put", str(document)))
    assert put.code == 0, put.error
    shown = await config(*there)
    assert shown == put
    assert "10.7.0.0/16" in shown.out
    stored = mtls_etcd.control.get(f"{prefix}/config")
    assert stored is not None
    assert stored.value == document.read_text()


async def test_no_configuration(etcd: Cluster, prefix: str) -> None:
    text = await complaint(f"--etcd-endpoints={etcd.member.url}", f"--etcd-prefix={prefix}")
    assert f"{prefix}/config" in text


async def test_down() -> None:
    claim = claim_port()
    try:
        text = await complaint(f"--etcd-endpoints=http://127.0.0.1:{claim.number}")
    finally:
        claim.held.close()
    assert f"http://127.0.0.1:{claim.number}" in text
    assert "refused" in text


async def test_a_black_hole(etcd: Cluster, open_proxy: OpenProxy) -> None:
    proxy = await open_proxy(etcd.member.port)
    proxy.silence()
    text = await complaint(f"--etcd-endpoints={proxy.url()}")
    assert proxy.url() in text


async def test_a_name_that_does_not_exist() -> None:
    text = await complaint("--etcd-endpoints=http://etcd.invalid:2379")
    assert "etcd.invalid" in text


async def test_one_of_two_is_down(etcd: Cluster, prefix: str) -> None:
    put_config(etcd, prefix)
    claim = claim_port()
    try:
        dead = f"http://127.0.0.1:{claim.number}"
        said = await config(f"--etcd-endpoints={dead},{etcd.member.url}", f"--etcd-prefix={prefix}")
    finally:
        claim.held.close()
    assert (said.code, said.error) == (0, "")


@pytest.mark.parametrize("trouble", ["wrong CA", "no client certificate", "plaintext"])
async def test_tls(
    mtls_etcd: Cluster, authority: Authority, wrong_authority: Authority, trouble: str
) -> None:
    url, files, word = mtls_etcd.member.url, authority.trust, "certificate"
    if trouble == "wrong CA":
        files = ClientFiles(wrong_authority.ca, *_of(authority.client(label="program")))
    if trouble == "plaintext":
        text = await complaint(f"--etcd-endpoints=http://{mtls_etcd.member.address}")
        assert "https" in text
        return
    text = await complaint(f"--etcd-endpoints={url}", *tls_flags(files))
    assert word in text


def _of(files: ClientFiles) -> tuple[Path | None, Path | None]:
    return files.cert, files.key


@pytest.mark.parametrize("trouble", ["wrong password", "no user", "read-only", "foreign keys"])
async def test_users(start_etcd: StartEtcd, prefix: str, tmp_path: Path, trouble: str) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    etcd.control.add_user("flannel", PASSWORD, roles=["network"])
    etcd.control.allow("network", prefix, "READ")
    etcd.control.enable_auth("root-password")
    there = [f"--etcd-endpoints={etcd.member.url}", f"--etcd-prefix={prefix}"]
    user = ["--etcd-username=flannel", f"--etcd-password={PASSWORD}"]
    if trouble == "wrong password":
        text = await complaint(*there, user[0], "--etcd-password=wrong-battery")
        assert "wrong-battery" not in text
        assert "flannel" in text.removeprefix("flannel-sdk")
    elif trouble == "no user":
        assert "user" in await complaint(*there)
    elif trouble == "foreign keys":
        assert "flannel" in await complaint(there[0], "--etcd-prefix=/elsewhere", *user)
    else:
        document = tmp_path / "net-conf.json"
        document.write_text('{"Network": "10.7.0.0/16"}')
        assert (await config(*there, *user)).code == 0
        text = await complaint(*there, *user, action=("put", str(document)))
        assert "flannel" in text.removeprefix("flannel-sdk")


async def test_a_full_store(start_etcd: StartEtcd, prefix: str, tmp_path: Path) -> None:
    etcd = start_etcd(Setup(flags=("--quota-backend-bytes=300000",)))
    put_config(etcd, prefix)
    etcd.control.fill()
    document = tmp_path / "net-conf.json"
    document.write_text('{"Network": "10.7.0.0/16"}')
    there = [f"--etcd-endpoints={etcd.member.url}", f"--etcd-prefix={prefix}"]
    assert "space" in await complaint(*there, action=("put", str(document)))
    assert (await config(*there)).code == 0, "reading goes on"
