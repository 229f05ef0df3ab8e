"""The files that clients of an API server are given: kubeconfigs, a pod's service account."""

import base64
import json
from pathlib import Path
from typing import NamedTuple

WAYS = (
    "token",
    "token-file",
    "certificate",
    "certificate-data",
    "exec",
    "exec-v1beta1",
)
"""How a user of a kubeconfig shows who it is."""


class Access(NamedTuple):
    """A server, and all that one user could show to it."""

    url: str
    ca: Path
    token: str
    cert: Path
    key: Path


def write_kubeconfig(folder: Path, access: Access, how: str) -> Path:
    """A kubeconfig (JSON is YAML) with one cluster and one user, who shows ``how``."""
    cluster: dict[str, object] = {"server": access.url}
    if how.endswith("-data"):
        cluster["certificate-authority-data"] = _data(access.ca)
    else:
        cluster["certificate-authority"] = str(access.ca)
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": _user(folder, access, how)}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content, indent=1))
    return path


def write_service_account(folder: Path, ca: Path, token: str, namespace: str) -> None:
    """What a pod finds below /var/run/secrets/kubernetes.io; writing it again is a rotation."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("ca.crt", ca.read_text()), ("namespace", namespace), ("token", token)):
        fresh = folder / f".{name}"
        fresh.write_text(text)
        fresh.replace(folder / name)


def write_exec_credential(path: Path, token: str, version: str = "v1", expires: str = "") -> None:
    """What an exec plugin prints."""
    status = {"token": token} | ({"expirationTimestamp": expires} if expires else {})
    content = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "kind": "ExecCredential",
        "status": status,
    }
    path.write_text(json.dumps(content))


def _user(folder: Path, access: Access, how: str) -> dict[str, object]:
    match how:
        case "token":
            return {"token": access.token}
        case "token-file":
            path = folder / "token"
            path.write_text(access.token)
            return {"tokenFile": str(path)}
        case "certificate":
            return {"client-certificate": str(access.cert), "client-key": str(access.key)}
        case "certificate-data":
            return {
                "client-certificate-data": _data(access.cert),
                "client-key-data": _data(access.key),
            }
        case "exec" | "exec-v1beta1":
            version = how.partition("-")[2] or "v1"
            printed = folder / "credential"
            write_exec_credential(printed, access.token, version)
            return {
                "exec": {
                    "apiVersion": f"client.authentication.k8s.io/{version}",
                    "command": "cat",
                    "args": [str(printed)],
                    "interactiveMode": "Never",
                }
            }
    raise AssertionError(f"no such way: {how}")


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
