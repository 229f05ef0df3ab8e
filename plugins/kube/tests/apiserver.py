"""A real kube-apiserver on loopback, with an etcd of its own: to kill, pause, compact, restart."""

import base64
import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias
from uuid import uuid4

from plugins.etcd.tests import servers
from plugins.etcd.tests.certificates import Authority
from plugins.etcd.tests.control import Refused
from plugins.etcd.tests.servers import Cluster, PortTaken
from plugins.kube.tests.api_control import ApiControl, Json, mapping
from plugins.kube.tests.kubeconfigs import Access, write_kubeconfig, write_service_account
from plugins.kube.tests.supervised import Supervised

NAMESPACE = "kube-flannel"
SERVICE_ACCOUNT = "flannel"
ROLE: Json = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "flannel"},
    "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    ],
}
"""The role that flannel's own manifest gives its pods."""

_FOLDER = "flannel-sdk-kube-"
_START_SECONDS = 60.0
_ATTEMPTS = 5
_PUTS_AT_ONCE = 50
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
# The tests replace the cache by an empty one.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_NODEAPI = Path(__file__).with_name("nodeapi")
_BUILT = "flannel-sdk/kube-apiserver-*/recipe-*/kube-apiserver"


def find_program(environ: Mapping[str, str]) -> Path | None:
    """``KUBE_APISERVER``, ``$KUBEBUILDER_ASSETS``, PATH, or what ``make kube-apiserver`` built.

    AssertionError if ``KUBE_APISERVER`` names no program.
    """
    path = environ.get("PATH")
    if named := environ.get("KUBE_APISERVER"):
        found = shutil.which(named, path=path)
        assert found, f"the environment variable KUBE_APISERVER names no program: {named}"
        return Path(found)
    assets = environ.get("KUBEBUILDER_ASSETS")
    for program in (
        assets and shutil.which("kube-apiserver", path=assets),
        shutil.which("kube-apiserver", path=path),
        *sorted(map(str, _CACHE.glob(_BUILT)), reverse=True),
    ):
        if program and os.access(program, os.X_OK):
            return Path(program)
    return None


class NodeApiPrograms(NamedTuple):
    """What .ci/nodeapi.sh builds."""

    server: Path
    etcd: Path


def find_nodeapi() -> NodeApiPrograms | None:
    """The ones built from the sources as they are now."""
    key = hashlib.sha256(
        b"".join((_NODEAPI / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
    )
    folder = _CACHE / "flannel-sdk" / f"nodeapi-{key.hexdigest()[:16]}"
    found = NodeApiPrograms(folder / "nodeapi", folder / "etcd")
    return found if os.access(found.server, os.X_OK) else None


@functools.cache
def _knows(program: Path, flag: str) -> bool:
    done = subprocess.run(
        [program, "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    return flag in done.stdout


def remove_orphans() -> None:
    """Remove the folders of test processes that died; their servers died with them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        owner = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class ApiSetup:
    """How an API server is run."""

    program: Path
    authority: Authority
    """Its certificates, and those of clients, are of this one."""
    flags: tuple[str, ...] = ()
    """More of its flags."""
    host: str = "127.0.0.1"
    """What it listens on; clients here reach it at 127.0.0.1."""
    etcd: Path | None = None
    """The program of its etcd; None: the one that the etcd store's tests use."""


class ApiServer:
    """One kube-apiserver process, its etcd, and what it takes to be one of its users.

    Users are ``admin``, who may do all, ``flannel``, who has flannel's role, and ``nobody``.
    """

    _nodes_key = "minions"

    def __init__(self, setup: ApiSetup) -> None:
        self.setup = setup
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        self._claim = servers.claim_port()
        self.port = self._claim.number
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca = setup.authority.ca
        self.tokens = {name: f"token-of-{name}-{os.urandom(8).hex()}" for name in _GROUPS}
        self.control = ApiControl(self.port, self.ca, self.tokens["admin"])
        self.etcd: Cluster | None = None
        self._process: Supervised | None = None
        self._prepared = False

    # -- the process -------------------------------------------------------------

    @property
    def process(self) -> Supervised:
        assert self._process is not None, "the API server was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.running

    def start(self) -> None:
        """Start it, again if it has run: with its data. Returns before it serves."""
        if self._process is None:
            program = self.setup.etcd
            setup = servers.Setup(server=program) if program else servers.Setup()
            self.etcd = servers.start_cluster(setup)
            flags = [f"--{name}={value}" for name, value in self._options().items()]
            command = [str(self.setup.program), *flags, *self.setup.flags]
            self._process = Supervised(command, self.folder / "apiserver.log")
        self._process.start()

    def wait_ready(self, seconds: float = _START_SECONDS) -> None:
        """Return when it serves flannel's user; AssertionError with its log, PortTaken."""
        deadline = time.monotonic() + seconds
        self._wait(lambda: self.control.call("GET", "/readyz").status == 200, deadline)
        if not self._prepared:
            self._prepare()
            self._prepared = True
        # for a moment after it is ready it refuses whom its role bindings would let in
        flannel = self.control.as_user(self.tokens["flannel"])
        self._wait(lambda: flannel.call("GET", "/api/v1/nodes?limit=1").status == 200, deadline)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone. (SIGTERM would wait a minute for open watches.)"""
        self.process.kill()

    def restart(self) -> None:
        """Kill it, start it with its data, and wait until it serves."""
        self.kill()
        self.start()
        self.wait_ready()

    def pause(self) -> None:
        """SIGSTOP: its connections stay, and nothing answers."""
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    def restore(self) -> None:
        """Undo what a test did: it runs, serves, and has no nodes."""
        if not self.running:
            self.start()
        self.resume()
        self.wait_ready()
        # thousands of them in one go, which the API server would delete one by one
        assert self.etcd is not None
        self.etcd.control.delete(f"/registry/{self._nodes_key}/", prefix=True)

    def release(self) -> None:
        """Kill all, remove all data, give the port back."""
        if self._process is not None:
            self._process.release()
        if self.etcd is not None:
            self.etcd.release()
        self._claim.held.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def compact(self) -> None:
        """Let etcd forget all revisions before now."""
        assert self.etcd is not None
        try:
            self.etcd.control.compact()
        except Refused as error:
            if "has been compacted" not in str(error):
                raise

    def load_nodes(self, bodies: Iterable[Json]) -> None:
        """Put thousands of Node objects into its etcd: a third of the time that it takes itself.

        They are kept as JSON until it writes them, which makes it list them a little slower.
        """
        assert self.etcd is not None
        puts: list[Json] = []
        for body in bodies:
            metadata = dict(mapping(body["metadata"]))
            metadata |= {"uid": str(uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z"}
            key = f"/registry/{self._nodes_key}/{metadata['name']}"
            value = json.dumps({**body, "metadata": metadata}, separators=(",", ":"))
            puts.append({"requestPut": {"key": _base64(key), "value": _base64(value)}})
            if len(puts) == _PUTS_AT_ONCE:
                self.etcd.control.ask("kv/txn", {"success": puts})
                puts.clear()
        self.etcd.control.ask("kv/txn", {"success": puts})

    # -- its users -----------------------------------------------------------------

    def as_user(self, user: str) -> ApiControl:
        return self.control.as_user(self.tokens[user])

    def kubeconfig(
        self,
        user: str = "flannel",
        how: str = "token",
        *,
        url: str | None = None,
        ca: Path | None = None,
    ) -> Path:
        """A fresh kubeconfig; ``how`` is one of ``kubeconfigs.WAYS``.

        ``url`` and ``ca`` are for servers behind a proxy, and for wrong ones.
        """
        client = self.setup.authority.client(user, label=f"user-{user}")
        assert client.cert is not None
        assert client.key is not None
        access = Access(url or self.url, ca or self.ca, self.tokens[user], client.cert, client.key)
        return write_kubeconfig(self._fresh_folder("kubeconfig-"), access, how)

    def service_account(self, token: str | None = None) -> Path:
        """A folder as a pod finds it, with a token of flannel's service account or this one."""
        folder = self._fresh_folder("service-account-")
        write_service_account(folder, self.ca, token or self.new_token(), NAMESPACE)
        return folder

    def new_token(self, bound_to: str | None = None) -> str:
        """A token of flannel's service account; ``revoke`` ends it if it is bound to something."""
        spec: dict[str, object] = {"expirationSeconds": 3600, "audiences": []}
        if bound_to is not None:
            secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
            made = self.control.ask("POST", secrets, {"metadata": {"name": bound_to}})
            uid = mapping(made["metadata"])["uid"]
            spec["boundObjectRef"] = {
                "apiVersion": "v1",
                "kind": "Secret",
                "name": bound_to,
                "uid": uid,
            }
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{SERVICE_ACCOUNT}/token"
        made = self.control.ask("POST", path, {"spec": spec})
        return str(mapping(made["status"])["token"])

    def revoke(self, bound_to: str) -> None:
        """End the tokens bound to this; the server may take one for 10 s more."""
        self.control.ask("DELETE", f"/api/v1/namespaces/{NAMESPACE}/secrets/{bound_to}")

    # -- below ---------------------------------------------------------------------

    def _fresh_folder(self, prefix: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=prefix, dir=self.folder))

    def _prepare(self) -> None:
        control = self.control
        control.ensure("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
        control.ensure(accounts, {"metadata": {"name": SERVICE_ACCOUNT}})
        control.ensure(f"{_RBAC}/clusterroles", ROLE)
        subjects = [
            {"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": NAMESPACE},
            {"kind": "User", "name": "flannel", "apiGroup": "rbac.authorization.k8s.io"},
        ]
        binding = {"metadata": {"name": "flannel"}, "subjects": subjects, "roleRef": _ROLE_REF}
        control.ensure(f"{_RBAC}/clusterrolebindings", binding)

    def _wait(self, arrived: Callable[[], bool], deadline: float) -> None:
        while True:
            if "address already in use" in self.process.log(50):
                raise PortTaken(str(self.port))
            if not self.running:
                raise AssertionError(f"the API server ended:\n{self.process.log()}")
            try:
                if arrived():
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"the API server is not ready:\n{self.process.log()}")
            time.sleep(0.02)

    def _options(self) -> dict[str, str]:
        setup = self.setup
        # any key pair: service accounts' tokens are signed with it
        signing = setup.authority.server(label="service-accounts")
        options = self._common_options() | {
            "etcd-compaction-interval": "0",
            "bind-address": setup.host,
            "advertise-address": "127.0.0.1",
            "endpoint-reconciler-type": "none",
            "cert-dir": str(self.folder),
            "client-ca-file": str(self.ca),
            "authorization-mode": "Node,RBAC",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": str(signing.key),
            "service-account-signing-key-file": str(signing.key),
            "service-cluster-ip-range": "10.96.0.0/16",
            "disable-admission-plugins": "ServiceAccount",
        }
        if _knows(setup.program, "--insecure-port"):
            options["insecure-port"] = "0"
        gates = [f"{gate}={on}" for gate, on in _GATES.items() if _knows(setup.program, gate)]
        if gates:
            options["feature-gates"] = ",".join(gates)
        return options

    def _common_options(self) -> dict[str, str]:
        assert self.etcd is not None
        tokens = self.folder / "tokens.csv"
        tokens.write_text(
            "".join(f'{self.tokens[u]},{u},{u}-uid,"{g}"\n' for u, g in _GROUPS.items())
        )
        shown = self.setup.authority.server(label="apiserver")
        return {
            "etcd-servers": self.etcd.member.url,
            "secure-port": str(self.port),
            "tls-cert-file": str(shown.cert),
            "tls-private-key-file": str(shown.key),
            "token-auth-file": str(tokens),
        }


class NodeApiServer(ApiServer):
    """The same with ``nodeapi``: newer, of nodes alone, and its users have tokens alone."""

    _nodes_key = "nodes"

    def _options(self) -> dict[str, str]:
        return self._common_options()

    def _prepare(self) -> None:
        """Its users' roles are built in."""


_GATES = {
    # without it, one of its time drops a node's second pod CIDR
    "IPv6DualStack": "true",
    # nodeapi is for that; this one is for pages
    "WatchList": "false",
}
_GROUPS = {"admin": "system:masters", "flannel": "", "nobody": ""}
_ROLE_REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flannel"}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def start_apiserver(setup: ApiSetup, kind: type[ApiServer] = ApiServer) -> ApiServer:
    """A fresh server that serves; on another port if somebody took it in between."""
    for _ in range(_ATTEMPTS):
        server = kind(setup)
        try:
            server.start()
            server.wait_ready()
        except PortTaken:
            server.release()
        except BaseException:
            server.release()
            raise
        else:
            return server
    raise AssertionError(f"no free port for an API server in {_ATTEMPTS} attempts")


StartApiServer: TypeAlias = Callable[..., ApiServer]
"""A fresh server with these flags, which ends with the test."""
