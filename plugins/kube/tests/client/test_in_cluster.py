"""A pod's service account: read, rotated, refused, missing."""

from pathlib import Path

import pytest

from flannel_sdk.errors import ConfigError, StoreUnavailable
from plugins.etcd.tests.certificates import Authority
from plugins.kube.tests.client.scripted_api import ScriptedApi
from plugins.kube.tests.client.sites import (
    OK,
    UNAUTHORIZED,
    pod_client,
    secure_api,
    server_tls,
    tokens,
    write_account,
)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk_kube.in_cluster._LOOK_SECONDS", 0.0)


async def test_the_token_is_shown_without_the_newline_at_its_end(
    authority: Authority, tmp_path: Path
) -> None:
    async with secure_api(authority, OK) as api:
        client = pod_client(api, write_account(tmp_path, authority, "t1\n"))
        assert await client.get_node("a") is not None
        await client.aclose()
    assert tokens(api) == ["t1"]


async def test_a_rotated_token_is_read_again(authority: Authority, tmp_path: Path) -> None:
    async with secure_api(authority, OK, OK) as api:
        client = pod_client(api, write_account(tmp_path, authority, "t1"))
        await client.get_node("a")
        write_account(tmp_path, authority, "t2")
        await client.get_node("a")
        await client.aclose()
    assert tokens(api) == ["t1", "t2"]


async def test_a_refused_token_is_read_again_once(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flannel_sdk_kube.in_cluster._LOOK_SECONDS", 3600.0)
    async with secure_api(authority, OK, UNAUTHORIZED, OK, UNAUTHORIZED) as api:
        client = pod_client(api, write_account(tmp_path, authority, "t1"))
        await client.get_node("a")
        write_account(tmp_path, authority, "t2")
        assert await client.get_node("a") is not None
        with pytest.raises(StoreUnavailable, match="does not accept the service account token"):
            await client.get_node("a")
        await client.aclose()
    assert tokens(api) == ["t1", "t1", "t2", "t2"]


async def test_a_rotated_authority_is_read_again(
    authority: Authority, wrong_authority: Authority, tmp_path: Path
) -> None:
    async with secure_api(authority, OK) as api:
        client = pod_client(api, write_account(tmp_path, authority, "t1"))
        await client.get_node("a")
        await client.aclose()
    async with ScriptedApi(OK, tls=server_tls(wrong_authority.server())) as other:
        client = pod_client(other, tmp_path)
        with pytest.raises(ConfigError, match=r"cannot be trusted.*the CA to trust is /.*/ca.crt"):
            await client.get_node("a")
        write_account(tmp_path, wrong_authority, "t1")
        assert await client.get_node("a") is not None
        await client.aclose()


async def test_files_that_went_bad_leave_the_last_good_ones(
    authority: Authority, tmp_path: Path
) -> None:
    async with secure_api(authority, OK, OK, OK) as api:
        client = pod_client(api, write_account(tmp_path, authority, "t1"))
        await client.get_node("a")
        (tmp_path / "token").write_text("")
        await client.get_node("a")
        (tmp_path / "ca.crt").unlink()
        await client.get_node("a")
        await client.aclose()
    assert tokens(api) == ["t1"] * 3


@pytest.mark.parametrize(
    ("name", "content", "saying"),
    [
        ("token", None, "token cannot be read .No such file or directory.: run in a pod"),
        ("token", " \n", "token holds no token"),
        ("token", "two\nlines", "token holds no token"),
        ("ca.crt", None, "ca.crt cannot be read"),
        ("ca.crt", "no certificate", "ca.crt holds no CA certificate"),
    ],
)
async def test_bad_files_are_named(
    authority: Authority, tmp_path: Path, name: str, content: str | None, saying: str
) -> None:
    async with secure_api(authority, OK) as api:
        client = pod_client(api, write_account(tmp_path, authority, "t1"))
        if content is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match=saying) as caught:
            await client.get_node("a")
        assert caught.value.key == "service_account"
        assert "two" not in str(caught.value)
        await client.aclose()
    assert not api.asked


async def test_a_server_of_another_authority_is_not_told_the_token(
    authority: Authority, wrong_authority: Authority, tmp_path: Path
) -> None:
    async with ScriptedApi(OK, tls=server_tls(wrong_authority.server())) as api:
        client = pod_client(api, write_account(tmp_path, authority, "t1"))
        with pytest.raises(ConfigError, match="its certificate is not valid for it"):
            await client.get_node("a")
        await client.aclose()
    assert not api.asked


@pytest.mark.parametrize("kind", ["other name", "expired"])
async def test_a_certificate_for_another_name_or_time_is_named(
    authority: Authority, tmp_path: Path, kind: str
) -> None:
    files = (
        authority.server("other.test")
        if kind == "other name"
        else authority.server(label="expired", seconds=-60)
    )
    saying = "127.0.0.1" if kind == "other name" else "expired"
    async with ScriptedApi(OK, tls=server_tls(files)) as api:
        client = pod_client(api, write_account(tmp_path, authority, "t1"))
        with pytest.raises(ConfigError, match=f"not valid for it.*{saying}"):
            await client.get_node("a")
        await client.aclose()


async def test_an_authority_may_be_commented_in_any_language(
    authority: Authority, tmp_path: Path
) -> None:
    async with secure_api(authority, OK) as api:
        account = write_account(tmp_path, authority, "t1")
        bundle = account / "ca.crt"
        bundle.write_text(f"# Főtanúsítvány\n{bundle.read_text()}", encoding="utf-8")
        client = pod_client(api, account)
        assert await client.get_node("a") is not None
        await client.aclose()
