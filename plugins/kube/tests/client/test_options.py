"""KubeOptions: defaults are flannel's, wrong values are named, the environment only if asked."""

import dataclasses
from pathlib import Path

import pytest
from flannel_sdk_kube import KubeOptions

from flannel_sdk.errors import ConfigError


def test_flannel_s_defaults() -> None:
    options = KubeOptions()
    assert options.annotation_stem == "flannel.alpha.coreos.com/"
    assert options.net_config_path == Path("/etc/kube-flannel/net-conf.json")
    assert options.service_account == Path("/var/run/secrets/kubernetes.io/serviceaccount")
    assert options.set_node_network_unavailable is True


def test_flanneld_s_flags_and_variables() -> None:
    told = {
        option.name: option.metadata.get("flag") or option.metadata.get("env")
        for option in dataclasses.fields(KubeOptions)
    }
    assert told == {
        "api_url": "kube-api-url",
        "kubeconfig": "kubeconfig-file",
        "annotation_prefix": "kube-annotation-prefix",
        "net_config_path": "net-config-path",
        "set_node_network_unavailable": "set-node-network-unavailable",
        "node_name": "NODE_NAME",
        "pod_name": "POD_NAME",
        "pod_namespace": "POD_NAMESPACE",
        "service_host": "KUBERNETES_SERVICE_HOST",
        "service_port": "KUBERNETES_SERVICE_PORT",
        "service_account": None,
        "timeout": None,
    }


@pytest.mark.parametrize(
    ("prefix", "stem"),
    [
        ("org.com", "org.com/"),
        ("org.com/", "org.com/"),
        ("org.com/9", "org.com/9-"),
        ("org.com/9-", "org.com/9-"),
        ("a.b-c.d_e/x_y-", "a.b-c.d_e/x_y-"),
    ],
)
def test_prefixes(prefix: str, stem: str) -> None:
    assert KubeOptions(annotation_prefix=prefix).annotation_stem == stem


@pytest.mark.parametrize(
    "prefix", ["", "org", "Org.com", "org.com/A", "org.com/a/b", "/a", "org.com//", "org.com/\n"]
)
def test_wrong_prefixes(prefix: str) -> None:
    with pytest.raises(ConfigError, match="annotation_prefix is"):
        KubeOptions(annotation_prefix=prefix)


def test_the_environment_of_flanneld_and_of_a_pod() -> None:
    options = KubeOptions.from_environ(
        {
            "FLANNELD_KUBE_API_URL": "https://10.0.0.1:6443/",
            "FLANNELD_KUBECONFIG_FILE": "/k",
            "FLANNELD_KUBE_ANNOTATION_PREFIX": "org.com",
            "FLANNELD_NET_CONFIG_PATH": "/n",
            "FLANNELD_SET_NODE_NETWORK_UNAVAILABLE": "False",
            "NODE_NAME": "n1",
            "POD_NAME": "p",
            "POD_NAMESPACE": "s",
            "KUBERNETES_SERVICE_HOST": "10.96.0.1",
            "KUBERNETES_SERVICE_PORT": "443",
        }
    )
    assert options == KubeOptions(
        api_url="https://10.0.0.1:6443",
        kubeconfig=Path("/k"),
        annotation_prefix="org.com",
        net_config_path=Path("/n"),
        set_node_network_unavailable=False,
        node_name="n1",
        pod_name="p",
        pod_namespace="s",
        service_host="10.96.0.1",
        service_port=443,
    )


def test_an_empty_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "n1")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert KubeOptions.from_environ({}) == KubeOptions.from_environ({"NODE_NAME": ""})
    assert KubeOptions().node_name is None
    assert KubeOptions().service_host is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("api_url", "https://"),
        ("api_url", "ftp://h"),
        ("api_url", "https://h:port"),
        ("api_url", "https://h:0"),
        ("api_url", "https://[::1"),
        ("api_url", "https://jane:pw@h"),
        ("api_url", "https://h?x=1"),
        ("service_port", 0),
        ("service_port", 70000),
        ("timeout", 0.0),
        ("timeout", float("nan")),
        ("node_name", "../secrets"),
        ("node_name", "a/b"),
        ("pod_namespace", ".."),
        ("pod_name", "a b"),
    ],
)
def test_wrong_values_are_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key) as caught:
        KubeOptions(**{key: value})  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.key == key
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLANNELD_SET_NODE_NETWORK_UNAVAILABLE", "maybe"),
        ("KUBERNETES_SERVICE_PORT", "tcp://10.96.0.1:443"),
    ],
)
def test_wrong_variables_are_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match="has to be"):
        KubeOptions.from_environ({name: value})


def test_a_bare_address_means_http_as_for_flannel() -> None:
    assert KubeOptions(api_url="10.0.0.1:8080").api_url == "http://10.0.0.1:8080"
    assert (
        KubeOptions(api_url="https://h/k8s/clusters/c-1/").api_url == "https://h/k8s/clusters/c-1"
    )
