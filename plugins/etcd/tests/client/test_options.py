"""The options: names, variables, what is refused and how it is said."""

from dataclasses import fields
from pathlib import Path

import pytest
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import Secret

FLANNELD = {
    "etcd-endpoints",
    "etcd-prefix",
    "etcd-keyfile",
    "etcd-certfile",
    "etcd-cafile",
    "etcd-username",
    "etcd-password",
}
ETCD3_CLIENT = {
    "host",
    "port",
    "ca_cert",
    "cert_key",
    "cert_cert",
    "timeout",
    "user",
    "password",
    "grpc_options",
}
PAIR = {"cert_cert": Path("c.pem"), "cert_key": Path("k.pem")}


def urls(options: EtcdOptions) -> list[str]:
    return [str(member) for member in options.members()]


def test_flannelds_flags_and_etcd3s_names_are_all_there() -> None:
    assert {f.metadata["flag"] for f in fields(EtcdOptions) if "flag" in f.metadata} == FLANNELD
    assert {f.name for f in fields(EtcdOptions)} >= ETCD3_CLIENT
    assert all(f.metadata["help"] and f.metadata["metavar"] for f in fields(EtcdOptions))


def test_the_defaults_are_flannels() -> None:
    assert urls(EtcdOptions()) == ["http://127.0.0.1:4001", "http://127.0.0.1:2379"]
    assert EtcdOptions().prefix == "/coreos.com/network"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"host": "etcd.test"}, "http://etcd.test:2379"),
        ({"host": "etcd.test", "port": 4}, "http://etcd.test:4"),
        ({"port": 4}, "http://localhost:4"),
        ({"host": "fd00::1"}, "http://[fd00::1]:2379"),
        ({"host": "etcd.test", "ca_cert": Path("ca.pem")}, "https://etcd.test:2379"),
        ({"host": "etcd.test", **PAIR}, "https://etcd.test:2379"),
    ],
)
def test_host_and_port_are_as_etcd3_takes_them(given: dict[str, object], expected: str) -> None:
    assert urls(EtcdOptions(**given)) == [expected]  # type: ignore[arg-type]  # any of them


def test_flannelds_variables() -> None:
    options = EtcdOptions.from_environ(
        {
            "FLANNELD_ETCD_ENDPOINTS": "https://a:1, https://b:2,",
            "FLANNELD_ETCD_PREFIX": "/net",
            "FLANNELD_ETCD_KEYFILE": "/k",
            "FLANNELD_ETCD_CERTFILE": "/c",
            "FLANNELD_ETCD_CAFILE": "/ca",
            "FLANNELD_ETCD_USERNAME": "me",
            "FLANNELD_ETCD_PASSWORD": "a,b=c",
            "ETCD_PASSWORD": "not ours",
        }
    )
    assert options == EtcdOptions(
        endpoints=("https://a:1", "https://b:2"),
        prefix="/net",
        ca_cert=Path("/ca"),
        cert_key=Path("/k"),
        cert_cert=Path("/c"),
        user="me",
        password=Secret("a,b=c"),
    )


def test_empty_variables_say_nothing() -> None:
    empty = {"FLANNELD_ETCD_ENDPOINTS": "", "FLANNELD_ETCD_PREFIX": "", "FLANNELD_ETCD_CAFILE": ""}
    assert EtcdOptions.from_environ(empty) == EtcdOptions.from_environ({}) == EtcdOptions()


@pytest.mark.parametrize(
    "given", [("grpc.a=1", "b=x=y"), {"grpc.a": 1, "b": "x=y"}, [("grpc.a", 1), ("b", "x=y")]]
)
def test_grpc_options_in_each_form(given: tuple[str, ...]) -> None:
    options = EtcdOptions(grpc_options=given)
    assert options.channel_arguments() == [("grpc.a", 1), ("b", "x=y")]
    assert options == EtcdOptions(grpc_options=("grpc.a=1", "b=x=y"))


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("endpoints", {"endpoints": ("ftp://a:1",)}),
        ("endpoints", {"endpoints": ("http://a:1", "https://b:1")}),
        ("endpoints", {"endpoints": ("http://a:1", "b:1"), "ca_cert": Path("ca")}),
        ("endpoints", {"endpoints": ("http://a:1",), "ca_cert": Path("ca")}),
        ("endpoints", {"endpoints": ("http://a:1",), **PAIR}),
        ("host", {"endpoints": ("http://a:1",), "host": "b"}),
        ("host", {"host": "b c"}),
        ("port", {"host": "b", "port": 0}),
        ("port", {"host": "b", "port": 65536}),
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": float("nan")}),
        ("timeout", {"timeout": float("inf")}),
        ("cert_key", {"endpoints": ("https://a",), "cert_cert": Path("c")}),
        ("cert_cert", {"endpoints": ("https://a",), "cert_key": Path("k")}),
        ("password", {"user": "me"}),
        ("user", {"password": Secret("hunter2")}),
        ("grpc_options", {"grpc_options": ("grpc.a",)}),
        ("grpc_options", {"grpc_options": ("=1",)}),
    ],
)
def test_what_is_wrong_is_named(key: str, given: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        EtcdOptions(**given)  # type: ignore[arg-type]  # any of them
    assert refused.value.key == key
    assert str(refused.value).endswith(".")
    assert "hunter2" not in str(refused.value)


def test_a_password_in_an_endpoint_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as refused:
        EtcdOptions(endpoints=("http://me:hunter2@a:1",))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["http://me:hunter2@a://b", "me:hunter2@://a:1", "http://me:hun://ter2@a:1"]
)
def test_a_password_in_what_is_no_url_is_not_shown_either(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        EtcdOptions(endpoints=(text,))
    assert "hun" not in str(refused.value)


def test_what_etcd3s_client_takes_none_for_says_nothing() -> None:
    nothing = dict.fromkeys(ETCD3_CLIENT - {"host", "port"})
    given: dict[str, object] = {"host": "localhost", "port": 2379, **nothing}
    options = EtcdOptions(**given)  # type: ignore[arg-type]  # as etcd3 declares them
    assert options == EtcdOptions(host="localhost")


def test_empty_texts_say_nothing_as_flannelds_empty_flags() -> None:
    empty: dict[str, object] = {
        "user": "",
        "password": Secret(""),
        "ca_cert": "",
        "cert_cert": "",
        "cert_key": "",
        "host": "",
    }
    assert EtcdOptions(**empty) == EtcdOptions()  # type: ignore[arg-type]  # texts for paths


@pytest.mark.parametrize("key", ["user", "password", "prefix"])
def test_bytes_that_are_no_text_are_refused_unseen(key: str) -> None:
    given: dict[str, object] = {"user": "me", "password": "x", key: "hunter2\udcff"}
    with pytest.raises(ConfigError) as refused:
        EtcdOptions(**given)  # type: ignore[arg-type]  # any of them
    assert refused.value.key == key
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None


def test_a_password_given_as_plain_text_is_not_shown_either() -> None:
    options = EtcdOptions(user="me", password="hunter2")  # type: ignore[arg-type]  # a mistake
    assert "hunter2" not in repr(options)
    assert options.password == Secret("hunter2")
