"""TLS files: what is read, what is refused and how it is said, and when they are read again."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from flannel_sdk_etcd import credentials
from flannel_sdk_etcd.credentials import CredentialFiles
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.errors import ConfigError
from plugins.etcd.tests.certificates import Authority

ENDPOINTS = ("https://127.0.0.1:2379",)


@dataclass
class Files:
    """The three files in a folder of the test's own."""

    ca: Path
    cert: Path
    key: Path

    def options(self) -> EtcdOptions:
        return EtcdOptions(
            endpoints=ENDPOINTS, ca_cert=self.ca, cert_cert=self.cert, cert_key=self.key
        )


def issued(authority: Authority, label: str) -> tuple[bytes, bytes]:
    made = authority.client(label=label)
    assert made.cert
    assert made.key
    return made.cert.read_bytes(), made.key.read_bytes()


@pytest.fixture
def files(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setattr(credentials, "_LOOK_SECONDS", 0.0)
    made = Files(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    made.ca.write_bytes(authority.ca.read_bytes())
    cert, key = issued(authority, "credentials")
    made.cert.write_bytes(cert)
    made.key.write_bytes(key)
    return made


async def refusal(options: EtcdOptions) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        await CredentialFiles(options).current()
    assert "\n" not in str(refused.value)
    return refused.value


async def test_plain_http_reads_no_file() -> None:
    made = CredentialFiles(EtcdOptions(endpoints=("http://127.0.0.1:2379",)))
    assert (await made.current()).grpc is None


async def test_a_ca_alone_and_a_pair_with_it(files: Files) -> None:
    alone = EtcdOptions(endpoints=ENDPOINTS, ca_cert=files.ca)
    assert (await CredentialFiles(alone).current()).grpc is not None
    assert (await CredentialFiles(files.options()).current()).grpc is not None


async def test_without_a_ca_the_systems_are_read_whatever_the_environment_says(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_SYSTEM_ROOTS", ("/nowhere/a.pem", str(files.ca)))
    for name in ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "/nowhere/else.pem")
    here = CredentialFiles(EtcdOptions(endpoints=ENDPOINTS))
    first = await here.current()
    assert first.grpc is not None
    files.ca.write_text("rubbish")
    assert await here.current() is first
    assert (await refusal(EtcdOptions(endpoints=ENDPOINTS))).key == "ca_cert"


@pytest.mark.parametrize("key", ["ca_cert", "cert_cert", "cert_key"])
async def test_a_file_that_is_missing_is_named(files: Files, key: str) -> None:
    path = {"ca_cert": files.ca, "cert_cert": files.cert, "cert_key": files.key}[key]
    path.unlink()
    refused = await refusal(files.options())
    assert refused.key == key
    assert str(path) in str(refused)
    assert "No such file" in str(refused)


async def test_files_that_hold_something_else_are_named(files: Files) -> None:
    key = files.key.read_text()
    files.key.write_text("rubbish")
    refused = await refusal(files.options())
    assert str(files.key) in str(refused)
    files.key.write_text(key)
    files.ca.write_text("rubbish")
    refused = await refusal(files.options())
    assert refused.key == "ca_cert"


async def test_a_key_of_another_certificate_and_a_locked_one_are_refused(
    files: Files, authority: Authority
) -> None:
    files.key.write_bytes(issued(authority, "another")[1])
    assert (await refusal(files.options())).key == "cert_cert"
    files.key.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    assert (await refusal(files.options())).key == "cert_cert"


async def test_they_are_read_again_when_they_changed_and_only_then(
    files: Files, authority: Authority
) -> None:
    here = CredentialFiles(files.options())
    first = await here.current()
    assert await here.current() is first
    cert, key = issued(authority, "renewed")
    files.cert.write_bytes(cert)
    assert await here.current() is first, "half of a pair"
    files.key.write_bytes(key)
    second = await here.current()
    assert second is not first
    assert await here.current() is second


async def test_many_callers_at_once_read_them_once(
    files: Files, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = CredentialFiles(files.options())
    first = await asyncio.gather(*(here.current() for _ in range(50)))
    assert len({id(each) for each in first}) == 1
    cert, key = issued(authority, "renewed at once")
    files.cert.write_bytes(cert)
    files.key.write_bytes(key)
    second = await asyncio.gather(*(here.current() for _ in range(50)))
    assert len({id(each) for each in second}) == 1
    assert second[0] is not first[0]


async def test_a_replacement_by_rename_with_the_same_size_and_time_is_seen(
    files: Files, authority: Authority
) -> None:
    here = CredentialFiles(files.options())
    first = await here.current()
    status = os.stat(files.ca)
    fresh = files.ca.with_suffix(".new")
    fresh.write_bytes(authority.ca.read_bytes())
    os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
    fresh.rename(files.ca)
    assert await here.current() is not first


async def test_files_that_vanish_later_leave_the_last_good_ones(files: Files) -> None:
    here = CredentialFiles(files.options())
    first = await here.current()
    files.ca.unlink()
    assert await here.current() is first
