"""The manifests hold what Kubernetes knows, and what our own programs take."""

import argparse
import json
from typing import cast

import pytest

from flannel_sdk.agent import AgentOptions
from flannel_sdk.cli import daemon
from flannel_sdk.cli.option_arguments import told_options
from flannel_sdk.model import NetworkConfig
from plugins.kube.tests.apiserver import ROLE, ApiServer
from plugins.kube.tests.conftest import (
    _shared_apiserver,
    apiserver,
    apiserver_program,
    authority,
)
from tests.deploy.manifests import FOLDER, Document, documents, kustomization, of_kind, part

__all__ = ["_shared_apiserver", "apiserver", "apiserver_program", "authority"]

_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/kube-flannel/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/kube-flannel/configmaps",
    "DaemonSet": "/apis/apps/v1/namespaces/kube-flannel/daemonsets",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


def test_the_kustomization_names_every_file() -> None:
    named = {*cast("list[str]", kustomization()["resources"]), "kustomization.yaml"}
    assert named == {file.name for file in FOLDER.iterdir()}
    assert {document["kind"] for document in documents()} == set(_PATHS)


@pytest.mark.slow
@pytest.mark.parametrize("document", documents(), ids=lambda document: str(document["kind"]))
def test_each_field_is_one_of_kubernetes(document: Document) -> None:
    """The official client's models drop what they do not know and refuse what is lacking."""
    from kubernetes.client import ApiClient

    with ApiClient() as client:
        model = client.deserialize(json.dumps(document), f"V1{document['kind']}", None)
        assert client.sanitize_for_serialization(model) == document


@pytest.mark.server
def test_an_api_server_takes_them(apiserver: ApiServer) -> None:
    for document in documents():
        path = _PATHS[str(document["kind"])]
        name = str(part(document, "metadata")["name"])
        if document["kind"] == "Namespace":  # there already, as the namespace of the others
            continue
        if document["kind"] in {"ClusterRole", "ClusterRoleBinding", "ServiceAccount"}:
            renamed = {**part(document, "metadata"), "name": f"{name}-tried"}
            document["metadata"] = renamed
        answer = apiserver.control.ask("POST", f"{path}?dryRun=All", document)
        assert answer["kind"] == document["kind"]


def test_the_rights_are_those_that_the_tests_run_with() -> None:
    assert of_kind("ClusterRole")["rules"] == ROLE["rules"]


def test_the_network_configuration_is_one() -> None:
    data = part(of_kind("ConfigMap"), "data")
    assert NetworkConfig.parse(str(data["net-conf.json"])).backend_type == "vxlan"


def daemon_options(words: list[str]) -> AgentOptions:
    """What the daemon makes of its command line, without an environment."""
    parser = argparse.ArgumentParser()
    daemon.add_arguments(parser)
    return told_options(AgentOptions, parser.parse_args(words), {})


def test_the_daemons_probes_are_asked_where_it_listens() -> None:
    spec = part(of_kind("DaemonSet"), "spec", "template", "spec")
    (container,) = cast("list[Document]", spec["containers"])
    (flag,) = [arg for arg in cast("list[str]", container["args"]) if "healthz-port" in arg]
    port = int(flag.partition("=")[2])
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert part(container, probe, "httpGet") == {"path": path, "port": port}
    options = daemon_options(cast("list[str]", container["args"]))
    assert options.health.port == port
    assert options.firewall.ip_masq
    annotations = part(of_kind("DaemonSet"), "spec", "template", "metadata", "annotations")
    assert annotations["prometheus.io/port"] == str(port)
