"""The store on the command line: flanneld's flags and variables; what is wrong is a sentence."""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from flannel_sdk.cli import main
from plugins.etcd.tests.certificates import Authority
from plugins.kube.tests.apiserver import ApiServer

FLAGS = (
    *("--kube-api-url", "--kubeconfig-file", "--kube-annotation-prefix", "--net-config-path"),
    "--set-node-network-unavailable",
)
VARIABLES = (
    *("NODE_NAME", "POD_NAME", "POD_NAMESPACE"),
    *("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),
)
NET_CONF = '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}'


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name in VARIABLES or name.startswith("FLANNELD_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("chosen", [["--store", "kube"], ["--kube-subnet-mgr"]])
def test_help_lists_flannelds_flags_and_variables(
    chosen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["daemon", *chosen, "--help"]) == 0
    out = capsys.readouterr().out
    for flag in FLAGS:
        assert f"  {flag} " in out
    for variable in VARIABLES:
        assert f"(${variable})" in out
    assert "service_account=DIR" in out


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        (["--kube-annotation-prefix", "org"], {}, "annotation_prefix is 'org'"),
        (["--kube-api-url", "ftp://x"], {}, "api_url has to name the server"),
        ([], {"FLANNELD_KUBE_API_URL": "ftp://x"}, "FLANNELD_KUBE_API_URL: api_url has to"),
        (
            ["--set-node-network-unavailable=maybe"],
            {},
            "set_node_network_unavailable has to be true or false, not 'maybe'",
        ),
        (
            [],
            {"FLANNELD_SET_NODE_NETWORK_UNAVAILABLE": "maybe"},
            "FLANNELD_SET_NODE_NETWORK_UNAVAILABLE: kube: set_node_network_unavailable has to",
        ),
        ([], {"KUBERNETES_SERVICE_PORT": "https"}, "KUBERNETES_SERVICE_PORT: kube: service_port"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    environ: Mapping[str, str],
    said: str,
) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text)
    assert main(["daemon", "--kube-subnet-mgr", *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("flannel-sdk: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        ([], "KUBERNETES_SERVICE_HOST", 2),
        (["--kubeconfig-file", "/nonexistent"], "/nonexistent", 1),
    ],
)
def test_a_daemon_without_a_cluster_says_where_it_looked(
    tmp_path: Path, words: list[str], said: str, code: int
) -> None:
    assert said in _ended(words, tmp_path, {"NODE_NAME": "n1"}, code)


def _files(folder: Path) -> list[str]:
    return [
        *("--subnet-file", str(folder / "subnet.env")),
        *("--status-socket", str(folder / "status.sock")),
    ]


def _ended(words: list[str], folder: Path, environ: Mapping[str, str], code: int = 1) -> str:
    """What a daemon said last, which ended by itself with ``code``."""
    (folder / "net-conf.json").write_text(NET_CONF)
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "flannel_sdk.cli", "daemon", "--kube-subnet-mgr"),
            *("--net-config-path", str(folder / "net-conf.json"), *_files(folder), *words),
        ],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("flannel-sdk: ")
    return last


@pytest.mark.server
@pytest.mark.slow
def test_who_may_not_or_cannot_be_trusted_is_told_what_to_fix(
    apiserver: ApiServer, wrong_authority: Authority, tmp_path: Path
) -> None:
    apiserver.control.add_node("n1", "10.5.1.0/24")
    node = {"NODE_NAME": "n1"}

    def words(kubeconfig: Path) -> list[str]:
        return ["--kubeconfig-file", str(kubeconfig)]

    refused = _ended(words(apiserver.kubeconfig("nobody")), tmp_path, node)
    assert "get" in refused
    assert "nodes" in refused
    untrusted = _ended(words(apiserver.kubeconfig(ca=wrong_authority.ca)), tmp_path, node)
    assert "certificate" in untrusted
    unnamed = _ended(words(apiserver.kubeconfig()), tmp_path, {})
    assert "NODE_NAME" in unnamed
    for said in (refused, untrusted, unnamed):
        assert not any(token in said for token in apiserver.tokens.values())


@pytest.mark.server
def test_the_configuration_is_shown_as_it_is_in_the_file(
    apiserver: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net-conf.json").write_text(NET_CONF)
    words = ["--store", "kube", "--net-config-path", str(tmp_path / "net-conf.json")]
    words += ["--kubeconfig-file", str(apiserver.kubeconfig())]
    assert main(["config", "show", *words]) == 0
    assert "10.5.0.0/16" in capsys.readouterr().out
    assert main(["config", "put", str(tmp_path / "net-conf.json"), *words]) == 1
    assert "takes no configuration from here" in capsys.readouterr().err
