"""Options of the kube store: flanneld's flags, and what a pod is told by its environment."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import option_metadata

DEFAULT_PREFIX = "flannel.alpha.coreos.com"
DEFAULT_NET_CONFIG = Path("/etc/kube-flannel/net-conf.json")
DEFAULT_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_STEM = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z0-9_-]+/(?:[a-z0-9_-]+-)?", re.ASCII)
# What names an object in a path of the API: nothing that would lead out of it.
_OBJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*", re.ASCII)
_BOOLEANS = dict.fromkeys(("1", "t", "true"), True) | dict.fromkeys(("0", "f", "false"), False)


@dataclass(frozen=True, slots=True)
class KubeOptions:
    """Options of the ``kube`` store, checked when made: ConfigError names the wrong one.

    Without ``kubeconfig`` and ``api_url`` the store runs inside the cluster, as a pod with a
    service account. Nothing is read from the environment except by ``from_environ``, and no file is
    opened.
    """

    api_url: str | None = field(
        default=None,
        metadata=option_metadata(
            "URL of the API server; with a kubeconfig, instead of the one in it.",
            "URL",
            flag="kube-api-url",
        ),
    )
    kubeconfig: Path | None = field(
        default=None,
        metadata=option_metadata(
            "Kubeconfig to take server and credentials from; without one, the service account.",
            "FILE",
            flag="kubeconfig-file",
        ),
    )
    annotation_prefix: str = field(
        default=DEFAULT_PREFIX,
        metadata=option_metadata(
            "What the names of flannel's annotations begin with.",
            "PREFIX",
            flag="kube-annotation-prefix",
        ),
    )
    net_config_path: Path = field(
        default=DEFAULT_NET_CONFIG,
        metadata=option_metadata(
            "File with the network's configuration.", "FILE", flag="net-config-path"
        ),
    )
    set_node_network_unavailable: bool = field(
        default=True,
        metadata=option_metadata(
            "Tell the cluster in a condition of the node that its network is there.",
            "BOOL",
            flag="set-node-network-unavailable",
        ),
    )
    node_name: str | None = field(
        default=None,
        metadata=option_metadata(
            "Name of this node; without it, the pod's is asked for.", "NAME", env="NODE_NAME"
        ),
    )
    pod_name: str | None = field(
        default=None,
        metadata=option_metadata("Name of the pod that this is.", "NAME", env="POD_NAME"),
    )
    pod_namespace: str | None = field(
        default=None, metadata=option_metadata("Its namespace.", "NAME", env="POD_NAMESPACE")
    )
    service_host: str | None = field(
        default=None,
        metadata=option_metadata(
            "Host of the API server as pods reach it.", "HOST", env="KUBERNETES_SERVICE_HOST"
        ),
    )
    service_port: int | None = field(
        default=None,
        metadata=option_metadata("Port on that host.", "PORT", env="KUBERNETES_SERVICE_PORT"),
    )
    service_account: Path = field(
        default=DEFAULT_SERVICE_ACCOUNT,
        metadata=option_metadata("Directory with the service account's token and ca.crt.", "DIR"),
    )
    timeout: float = field(
        default=10.0, metadata=option_metadata("Seconds that one call may take in all.", "SECONDS")
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """What flanneld's variables (``FLANNELD_KUBE_API_URL``, ..) and a pod's say.

        Empty ones are unset.
        """
        texts: dict[str, str] = {}
        for option in fields(cls):
            flag = option.metadata.get("flag")
            name = "FLANNELD_" + flag.upper().replace("-", "_") if flag else None
            text = environ.get(name or option.metadata.get("env", ""))
            if text:
                texts[option.name] = text
        return cls(
            api_url=texts.get("api_url"),
            kubeconfig=_path(texts.get("kubeconfig")),
            annotation_prefix=texts.get("annotation_prefix", DEFAULT_PREFIX),
            net_config_path=Path(texts.get("net_config_path", DEFAULT_NET_CONFIG)),
            set_node_network_unavailable=_boolean(
                "set_node_network_unavailable", texts.get("set_node_network_unavailable", "true")
            ),
            node_name=texts.get("node_name"),
            pod_name=texts.get("pod_name"),
            pod_namespace=texts.get("pod_namespace"),
            service_host=texts.get("service_host"),
            service_port=_number("service_port", texts.get("service_port")),
        )

    def __post_init__(self) -> None:
        for name in ("kubeconfig", "net_config_path", "service_account"):
            object.__setattr__(self, name, _path(getattr(self, name)))
        for name in ("api_url", "node_name", "pod_name", "pod_namespace", "service_host"):
            object.__setattr__(self, name, getattr(self, name) or None)
        self._check_numbers()
        self._check_names()
        if self.api_url is not None:
            object.__setattr__(self, "api_url", server_url("api_url", self.api_url))
        _ = self.annotation_stem

    @property
    def annotation_stem(self) -> str:
        """What stands before each of flannel's annotation names: ``flannel.alpha.coreos.com/``."""
        stem = self.annotation_prefix
        if "/" not in stem:
            stem += "/"
        if not stem.endswith(("/", "-")):
            stem += "-"
        if not _STEM.fullmatch(stem):
            raise ConfigError(
                "annotation_prefix",
                f"annotation_prefix is {self.annotation_prefix!r} and has to be a domain name of"
                " two parts or more in lower case, as in 'example.com' or 'example.com/net'.",
            )
        return stem

    def _check_numbers(self) -> None:
        if self.service_port is not None and not 0 < self.service_port < 65536:
            raise ConfigError(
                "service_port", f"service_port is {self.service_port} and has to be 1 to 65535."
            )
        if not 0 < self.timeout < math.inf:
            raise ConfigError("timeout", f"timeout is {self.timeout} and has to be above 0.")

    def _check_names(self) -> None:
        for key in ("node_name", "pod_name", "pod_namespace"):
            name = getattr(self, key)
            if name is not None and not _OBJECT_NAME.fullmatch(name):
                raise ConfigError(key, f"{key} is {name!r}, which is no name of such an object.")


def server_url(key: str, text: str) -> str:
    """A server's URL, checked and without a slash at its end; ConfigError for the option ``key``.

    A bare host and port mean http, as they do for flannel.
    """
    text = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        parts, usable = None, False
    if parts is None or not usable or parts.query or parts.fragment:
        raise ConfigError(key, f"{key} has to name the server as https://HOST:PORT.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(key, f"{key} has a user or a password in the server's URL.")
    return text.rstrip("/")


def _path(value: object) -> Path | None:
    return None if value is None else Path(str(value))


def _number(key: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal():
        raise ConfigError(key, f"{key} is {text!r} and has to be a number.")
    return int(text)


def _boolean(key: str, text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ConfigError(key, f"{key} is {text!r} and has to be true or false.")
    return value
