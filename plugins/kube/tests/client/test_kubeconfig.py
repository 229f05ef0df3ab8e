"""Kubeconfigs: every way to be somebody, what is refreshed, and what is said of wrong ones."""

import asyncio
import base64
import json
import logging
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from flannel_sdk_kube import KubeOptions
from flannel_sdk_kube.client import KubeClient

from flannel_sdk.errors import ConfigError, StoreUnavailable
from plugins.etcd.tests.certificates import Authority
from plugins.kube.tests.client.scripted_api import ScriptedApi, a_node, document
from plugins.kube.tests.client.sites import (
    OK,
    UNAUTHORIZED,
    secure_api,
    server_tls,
    tokens,
    write_config,
)
from plugins.kube.tests.kubeconfigs import WAYS, write_exec_credential

pytestmark = pytest.mark.slow


SECRET = "t0ken-that-nobody-sees"


def _client(path: Path, *, api_url: str | None = None, timeout: float = 30.0) -> KubeClient:
    return KubeClient(KubeOptions(kubeconfig=path, api_url=api_url, timeout=timeout))


def _edit(path: Path, part: str, **values: object) -> None:
    """Change the one cluster or user of a kubeconfig; None removes."""
    content = json.loads(path.read_text())
    target = content[f"{part}s"][0][part]
    for name, value in values.items():
        key = name.replace("_", "-")
        target[key] = value
        if value is None:
            del target[key]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("how", WAYS)
async def test_every_way_to_be_somebody(authority: Authority, tmp_path: Path, how: str) -> None:
    by_certificate = how.startswith("certificate")
    tls = server_tls(authority.server(), authority.ca if by_certificate else None)
    async with ScriptedApi(OK, OK, tls=tls) as api:
        client = _client(write_config(tmp_path, api.url, authority, how))
        assert await client.get_node("a") is not None
        assert await client.get_node("a") is not None
        await client.aclose()
    assert tokens(api) == [None if by_certificate else "t1"] * 2


async def test_user_and_password(authority: Authority, tmp_path: Path) -> None:
    async with secure_api(authority, OK) as api:
        path = write_config(tmp_path, api.url, authority)
        _edit(path, "user", token=None, username="jane", password="pw")
        client = _client(path)
        await client.get_node("a")
        await client.aclose()
    assert tokens(api) == ["Basic " + base64.b64encode(b"jane:pw").decode()]


async def test_an_oidc_token_is_shown(authority: Authority, tmp_path: Path) -> None:
    def part(content: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'none'})}.{part({'exp': time.time() + 3600})}.signature"
    async with secure_api(authority, OK) as api:
        path = write_config(tmp_path, api.url, authority)
        provider = {"name": "oidc", "config": {"id-token": token}}
        _edit(path, "user", token=None, auth_provider=provider)
        client = _client(path)
        await client.get_node("a")
        await client.aclose()
    assert tokens(api) == [token]


async def test_an_expired_credential_of_a_plugin_is_fetched_again(
    authority: Authority, tmp_path: Path
) -> None:
    def expires(seconds: float) -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    async with secure_api(authority, OK, OK, OK) as api:
        client = _client(write_config(tmp_path, api.url, authority, "exec"))
        printed = tmp_path / "credential"
        write_exec_credential(printed, "t1", expires=expires(-3600))
        await client.get_node("a")
        write_exec_credential(printed, "t2", expires=expires(+3600))
        await client.get_node("a")
        write_exec_credential(printed, "t3")
        await client.get_node("a")
        await client.aclose()
    # the package looks whether it has expired before each request, the first one included
    assert tokens(api)[1:] == ["t2", "t2"]


@pytest.mark.parametrize("how", ["exec", "token-file"])
async def test_a_refused_credential_is_fetched_again_once(
    authority: Authority, tmp_path: Path, how: str
) -> None:
    async with secure_api(authority, OK, UNAUTHORIZED, OK, UNAUTHORIZED) as api:
        client = _client(write_config(tmp_path, api.url, authority, how))
        await client.get_node("a")
        (tmp_path / "token").write_text("t2")
        write_exec_credential(tmp_path / "credential", "t2")
        assert await client.get_node("a") is not None
        with pytest.raises(StoreUnavailable, match="does not accept the credentials in kubeconfig"):
            await client.get_node("a")
        await client.aclose()
    assert tokens(api) == ["t1", "t1", "t2", "t2"]


async def test_a_rotated_client_certificate_is_read_after_a_refusal(
    authority: Authority, tmp_path: Path
) -> None:
    tls = server_tls(authority.server(), authority.ca)
    async with ScriptedApi(OK, UNAUTHORIZED, OK, tls=tls) as api:
        client = _client(write_config(tmp_path, api.url, authority, "certificate"))
        await client.get_node("a")
        authority.client("jane", label="jane")
        assert await client.get_node("a") is not None
        await client.aclose()
    assert len(api.asked) == 3


async def test_a_rotated_authority_is_read_again_when_the_server_shows_it(
    authority: Authority, wrong_authority: Authority, tmp_path: Path
) -> None:
    tls = server_tls(authority.server())
    closing = document(a_node("a", 1), headers={"Connection": "close"})
    async with ScriptedApi(closing, OK, tls=tls) as api:
        client = _client(write_config(tmp_path, api.url, authority))
        await client.get_node("a")
        shown = wrong_authority.server()
        tls.load_cert_chain(shown.cert, shown.key)
        with pytest.raises(StoreUnavailable, match="cannot be trusted"):
            await client.get_node("a")
        write_config(tmp_path, api.url, wrong_authority)
        assert await client.get_node("a") is not None
        await client.aclose()


async def test_a_kubeconfig_that_goes_bad_after_it_was_good_may_heal(
    authority: Authority, tmp_path: Path
) -> None:
    async with secure_api(authority, OK, UNAUTHORIZED, UNAUTHORIZED, OK) as api:
        path = write_config(tmp_path, api.url, authority)
        client = _client(path)
        await client.get_node("a")
        path.write_text("half-writ")
        with pytest.raises(StoreUnavailable, match=r"asked: kubeconfig .* cannot be used"):
            await client.get_node("a")
        write_config(tmp_path, api.url, authority, token="t2")
        assert await client.get_node("a") is not None
        await client.aclose()
    assert tokens(api) == ["t1", "t1", "t1", "t2"]


async def test_a_plugin_that_hangs_fails_the_call_in_time_and_is_not_run_twice(
    authority: Authority, tmp_path: Path
) -> None:
    async with secure_api(authority, OK) as api:
        path = write_config(tmp_path, api.url, authority, "exec")
        started, go = tmp_path / "started", tmp_path / "go"
        script = (
            f"echo >>{started}; until [ -e {go} ]; do sleep 0.05; done; cat {tmp_path}/credential"
        )
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", script],
            "interactiveMode": "Never",
        }
        _edit(path, "user", exec=plugin)
        client = _client(path, timeout=1.0)
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=r"credentials.* were not there in time"):
                await client.get_node("a")
        go.touch()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await client.get_node("a") is not None
                    break
                except StoreUnavailable:
                    continue
        await client.aclose()
    assert started.read_text().count("\n") == 1


async def test_a_plugin_that_fails_is_named_with_its_reason(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with secure_api(authority, OK) as api:
        path = write_config(tmp_path, api.url, authority, "exec")
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", "echo no network here >&2; exit 3"],
            "interactiveMode": "Never",
        }
        _edit(path, "user", exec=plugin)
        client = _client(path)
        with pytest.raises(StoreUnavailable, match=r"credential plugin failed: .*no network here"):
            await client.get_node("a")
        _edit(path, "user", exec=plugin | {"command": "no-such-program"})
        with pytest.raises(ConfigError, match=r"credential plugin failed: .*no-such-program"):
            await client.get_node("a")
        await client.aclose()
    assert not [record for record in caplog.records if record.name == "root"]
    assert not api.asked


async def test_the_server_s_url_may_be_given_besides(authority: Authority, tmp_path: Path) -> None:
    async with secure_api(authority, OK) as api:
        path = write_config(tmp_path, "https://wrong.invalid", authority)
        client = _client(path, api_url=api.url)
        assert client.name == f"kube:{api.url}"
        assert await client.get_node("a") is not None
        await client.aclose()


async def test_the_proxy_of_a_kubeconfig_is_used(authority: Authority, tmp_path: Path) -> None:
    async with ScriptedApi(OK) as proxy:
        path = write_config(tmp_path, "http://api.invalid:8080", authority)
        _edit(path, "cluster", proxy_url=proxy.url)
        client = _client(path)
        assert await client.get_node("a") is not None
        await client.aclose()
    assert proxy.asked[0].headers["Host"] == "api.invalid:8080"


async def test_the_name_to_check_and_no_check_at_all(
    authority: Authority, wrong_authority: Authority, tmp_path: Path
) -> None:
    tls = server_tls(authority.server("kubernetes.test"))
    async with ScriptedApi(OK, OK, tls=tls) as api:
        path = write_config(tmp_path, api.url, authority)
        _edit(path, "cluster", tls_server_name="kubernetes.test")
        named = _client(path)
        assert await named.get_node("a") is not None
        await named.aclose()
        wrong = write_config(tmp_path, api.url, authority, trusted=wrong_authority)
        _edit(wrong, "cluster", insecure_skip_tls_verify=True)
        unchecked = _client(wrong)
        assert await unchecked.get_node("a") is not None
        await unchecked.aclose()


async def test_the_authority_of_another_cluster_is_named(
    authority: Authority, wrong_authority: Authority, tmp_path: Path
) -> None:
    async with secure_api(authority, OK) as api:
        client = _client(write_config(tmp_path, api.url, authority, trusted=wrong_authority))
        with pytest.raises(
            ConfigError, match="to trust is the certificate-authority in kubeconfig /"
        ):
            await client.get_node("a")
        await client.aclose()
    assert not api.asked


async def test_an_authority_may_be_commented_in_any_language(
    authority: Authority, tmp_path: Path
) -> None:
    async with secure_api(authority, OK) as api:
        path = write_config(tmp_path, api.url, authority)
        bundle = tmp_path / "bundle.pem"
        bundle.write_text(f"# Főtanúsítvány\n{authority.ca.read_text()}", encoding="utf-8")
        _edit(path, "cluster", certificate_authority=str(bundle))
        client = _client(path)
        assert await client.get_node("a") is not None
        await client.aclose()


async def _complaint(path: Path) -> str:
    client = _client(path)
    with pytest.raises(ConfigError) as caught:
        await client.get_node("a")
    await client.aclose()
    assert caught.value.key == "kubeconfig"
    assert SECRET not in str(caught.value)
    trace = caught.value.__cause__
    while trace is not None:
        assert SECRET not in str(trace)
        trace = trace.__cause__
    return str(caught.value)


async def test_wrong_kubeconfigs_are_named_without_their_secrets(
    authority: Authority, tmp_path: Path
) -> None:
    good = write_config(tmp_path, "https://127.0.0.1:1", authority, token=SECRET).read_text()
    path = tmp_path / "wrong"
    assert "cannot be read: No such file" in await _complaint(path)
    for content in ("", "users: [", f"users: {{token: {SECRET}: x}}", "[]", "text", "\x00"):
        path.write_text(content)
        assert f"kubeconfig {path} cannot be used" in await _complaint(path)
    for lacking in ("current-context", "contexts", "clusters"):
        content = json.loads(good)
        del content[lacking]
        path.write_text(json.dumps(content))
        assert lacking in await _complaint(path)
    path.write_text(good.replace('"current-context": "tests"', '"current-context": "other"'))
    assert "other" in await _complaint(path)
    path.write_text(good)
    _edit(path, "cluster", server=None)
    assert "no server" in await _complaint(path)
    path.write_text(good)
    _edit(path, "cluster", certificate_authority="/no/such/file")
    assert "/no/such/file, which does not exist" in await _complaint(path)
    path.write_text(good)
    _edit(path, "cluster", certificate_authority=None, certificate_authority_data="AAAA")
    assert "holds no CA certificate" in await _complaint(path)
    path.write_text(good)
    _edit(path, "user", client_certificate=str(authority.ca), client_key=str(authority.ca))
    assert "client-certificate and client-key" in await _complaint(path)
    path.write_text(good)
    _edit(path, "user", token="two\nlines")
    assert "no header can carry" in await _complaint(path)
    path.write_text(good)
    _edit(path, "cluster", proxy_url="socks5://127.0.0.1:1")
    assert "proxy-url" in await _complaint(path)


async def test_keys_on_disk_live_as_long_as_they_are_read(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    tls = server_tls(authority.server(), authority.ca)
    async with ScriptedApi(OK, tls=tls) as api:
        client = _client(write_config(tmp_path, api.url, authority, "certificate-data"))
        assert await client.get_node("a") is not None
        assert not list((tmp_path / "temporary").iterdir())
        await client.aclose()


def test_a_log_of_others_passes_while_a_kubeconfig_is_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from flannel_sdk_kube.kubeconfig import _errors_logged

    with _errors_logged() as errors:
        logging.getLogger().warning("a warning")
        logging.getLogger().error("an error")
    assert errors == ["an error"]
    assert [record.getMessage() for record in caplog.records] == ["a warning"]


async def test_a_package_that_cannot_be_imported_is_named(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Warned(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise DeprecationWarning("some day")

    client = _client(write_config(tmp_path, "https://127.0.0.1:1", authority))
    monkeypatch.setitem(sys.modules, "kubernetes.config", Warned("kubernetes.config"))
    with pytest.raises(StoreUnavailable, match="kubernetes, which cannot be imported: some day"):
        await client.get_node("a")
    monkeypatch.setitem(sys.modules, "kubernetes.config", None)
    with pytest.raises(ConfigError, match="needs the package kubernetes, which cannot be"):
        await client.get_node("a")
    await client.aclose()


def test_the_package_is_imported_for_a_kubeconfig_alone() -> None:
    check = (
        "import sys; from flannel_sdk_kube import KubeOptions, plugin;"
        "assert not {'aiohttp', 'kubernetes'} & set(sys.modules);"
        "from flannel_sdk_kube.client import KubeClient;"
        "KubeClient(KubeOptions(service_host='h'));"
        "KubeClient(KubeOptions(kubeconfig='/k'));"
        "assert 'aiohttp' in sys.modules and 'kubernetes' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
