"""TLS: who is trusted and who is not, in a sentence; certificates that change while we run."""

import asyncio
import time
from pathlib import Path

import pytest
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.errors import PermanentError
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.certificates import Authority, ClientFiles
from plugins.etcd.tests.load import (
    PATIENCE,
    keeping,
    manager,
    node,
    put_config,
    viewing,
)
from plugins.etcd.tests.proxy import OpenProxy
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd
from tests.stopwatch import Stopwatch

pytestmark = pytest.mark.server

SOON = 3.0
"""Seconds within which a first connection that cannot work has to say why."""


def with_files(url: str, prefix: str, files: ClientFiles) -> EtcdOptions:
    return EtcdOptions((url,), prefix, files.ca, cert_key=files.key, cert_cert=files.cert)


async def sentence(options: EtcdOptions) -> str:
    """What a first read fails with, soon and for good."""
    stopwatch = Stopwatch()
    async with manager(options) as opened:
        with pytest.raises(PermanentError) as failed:
            await opened.get_network_config()
    assert stopwatch.seconds < SOON
    text = str(failed.value)
    assert "\n" not in text
    return text


async def test_ca_only(tls_etcd: Cluster, prefix: str, authority: Authority) -> None:
    put_config(tls_etcd, prefix)
    here = with_files(tls_etcd.member.url, prefix, authority.trust)
    async with manager(here) as opened, viewing(opened) as view:
        await opened.acquire_lease(node(1))
        await view.agrees(tls_etcd, prefix)


async def test_a_host_name(tls_etcd: Cluster, prefix: str, authority: Authority) -> None:
    put_config(tls_etcd, prefix)
    url = f"https://localhost:{tls_etcd.member.port}"
    async with manager(with_files(url, prefix, authority.trust)) as opened:
        await opened.acquire_lease(node(1))


async def test_mutual(mtls_etcd: Cluster, prefix: str, authority: Authority) -> None:
    put_config(mtls_etcd, prefix)
    files = authority.client(label="mutual")
    here = with_files(mtls_etcd.member.url, prefix, files)
    async with manager(here) as opened, viewing(opened) as view:
        await opened.acquire_lease(node(1))
        await view.agrees(mtls_etcd, prefix)


async def test_a_certificate_as_the_user(
    start_etcd: StartEtcd, prefix: str, authority: Authority
) -> None:
    """etcd takes the common name of a client's certificate as its user."""
    etcd = start_etcd(
        Setup(
            tls=authority.server(label="cn-server"),
            client_ca=authority.ca,
            control=authority.client(label="control"),
        )
    )
    put_config(etcd, prefix)
    etcd.control.add_user("flannel", "unused", roles=["network"])
    etcd.control.allow("network", prefix)
    etcd.control.enable_auth("root-password")
    files = authority.client("flannel", label="named")
    async with manager(with_files(etcd.member.url, prefix, files)) as opened:
        await opened.acquire_lease(node(1))


async def test_a_wrong_ca(tls_etcd: Cluster, prefix: str, wrong_authority: Authority) -> None:
    text = await sentence(with_files(tls_etcd.member.url, prefix, wrong_authority.trust))
    assert tls_etcd.member.address in text
    assert "certificate" in text


async def test_a_wrong_name(start_etcd: StartEtcd, prefix: str, authority: Authority) -> None:
    # so that the harness itself can speak to it, its name is right for localhost alone
    etcd = start_etcd(
        Setup(
            tls=authority.server("localhost", label="other-name"),
            control=authority.trust,
            host="127.0.0.1",
            control_host="localhost",
        )
    )
    text = await sentence(with_files(etcd.member.url, prefix, authority.trust))
    assert "name" in text or "127.0.0.1" in text
    assert "certificate" in text


async def test_no_client_certificate(mtls_etcd: Cluster, prefix: str, authority: Authority) -> None:
    text = await sentence(with_files(mtls_etcd.member.url, prefix, authority.trust))
    assert "certificate" in text


async def test_a_client_certificate_of_another_ca(
    mtls_etcd: Cluster, prefix: str, authority: Authority, wrong_authority: Authority
) -> None:
    wrong = wrong_authority.client(label="stranger")
    files = ClientFiles(authority.ca, wrong.cert, wrong.key)
    text = await sentence(with_files(mtls_etcd.member.url, prefix, files))
    assert "certificate" in text


async def test_an_expired_client_certificate(
    mtls_etcd: Cluster, prefix: str, authority: Authority
) -> None:
    files = authority.client(label="expired", seconds=-3600)
    text = await sentence(with_files(mtls_etcd.member.url, prefix, files))
    assert "certificate" in text


async def test_plaintext_to_a_tls_port(tls_etcd: Cluster, prefix: str) -> None:
    plain = EtcdOptions(endpoints=(f"http://{tls_etcd.member.address}",), prefix=prefix)
    text = await sentence(plain)
    assert "https" in text or "TLS" in text


async def test_tls_to_a_plaintext_port(etcd: Cluster, prefix: str, authority: Authority) -> None:
    url = f"https://{etcd.member.address}"
    text = await sentence(with_files(url, prefix, authority.trust))
    assert "TLS" in text


@pytest.mark.parametrize("broken", ["missing", "rubbish"])
async def test_files_that_cannot_be_read(
    tls_etcd: Cluster, prefix: str, tmp_path: Path, broken: str
) -> None:
    file = tmp_path / "ca.pem"
    if broken == "rubbish":
        file.write_text("no certificate")
    text = await sentence(with_files(tls_etcd.member.url, prefix, ClientFiles(file)))
    assert str(file) in text


@pytest.fixture
def rotating(start_etcd: StartEtcd, prefix: str, tmp_path: Path) -> tuple[Cluster, Authority]:
    """A server that wants client certificates, with an authority of its own."""
    authority = Authority(tmp_path / "rotating")
    etcd = start_etcd(
        Setup(
            tls=authority.server(label="server"),
            client_ca=authority.ca,
            control=authority.client(label="control"),
        )
    )
    put_config(etcd, prefix)
    return etcd, authority


@pytest.mark.slow
async def test_a_client_certificate_is_read_again_when_it_changes(
    rotating: tuple[Cluster, Authority], prefix: str, open_proxy: OpenProxy
) -> None:
    """The first one ends within seconds: only the new one can connect after the cut."""
    etcd, authority = rotating
    proxy = await open_proxy(etcd.member.port)
    ends = time.monotonic() + 5
    files = authority.client(label="client", seconds=5)
    async with (
        manager(with_files(proxy.url("https"), prefix, files), lease_ttl=8) as opened,
        keeping(opened, 1) as keeper,
        viewing(opened) as view,
    ):
        await view.agrees(etcd, prefix)
        authority.client(label="client")
        await eventually(lambda: time.monotonic() > ends + 1, "the end of the first one", 10)
        proxy.cut()
        renewals = keeper.status()["renewals"]
        await eventually(lambda: keeper.status()["renewals"] != renewals, "a renewal", PATIENCE)
        await view.agrees(etcd, prefix)
        assert keeper.status()["reacquisitions"] == 0


@pytest.mark.slow
async def test_a_new_authority_is_read_while_running(
    rotating: tuple[Cluster, Authority], prefix: str, tmp_path: Path
) -> None:
    """Server certificate, client certificate and CA are all replaced, and the server restarts."""
    etcd, authority = rotating
    files = authority.client(label="client")
    here = with_files(etcd.member.url, prefix, files)
    async with (
        manager(here, lease_ttl=60) as opened,
        keeping(opened, 1),
        viewing(opened) as view,
    ):
        await view.agrees(etcd, prefix)
        await asyncio.to_thread(etcd.member.kill)
        # the same folder and labels: the same files
        successor = Authority(tmp_path / "rotating")
        for label in ("client", "control"):
            successor.client(label=label)
        successor.server(label="server")
        await asyncio.to_thread(etcd.member.restart)
        await opened.acquire_lease(node(2))
        await view.agrees(etcd, prefix)
