"""The tests' own hand on etcd: its JSON gateway, spoken with the standard library alone."""

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeAlias

from flannel_sdk.testing.namespaces import Namespace
from plugins.etcd.tests.certificates import ClientFiles

Json: TypeAlias = Mapping[str, object]

_TIMEOUT = 5.0


class Refused(Exception):
    """etcd answered with an error; the message is etcd's."""


class Stored(NamedTuple):
    """A key as etcd holds it."""

    key: str
    value: str
    mod_revision: int
    lease: int


def _text(value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    return base64.b64encode(raw).decode()


def _end(prefix: str) -> str:
    """The end of the range of all keys that begin with ``prefix`` (never 0xff at its end)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class Control:
    """One member's gateway; each call is a connection of its own and blocks for up to 5 s.

    OSError where the member does not answer, ``Refused`` where it answers with an error.
    """

    def __init__(
        self, host: str, port: int, client: ClientFiles | None, namespace: Namespace | None
    ) -> None:
        self._host = host
        self._port = port
        self._client = client
        self._namespace = namespace
        self._user: tuple[str, str] | None = None
        self._token = ""

    # -- keys ------------------------------------------------------------------

    def put(self, key: str, value: str | bytes, lease: int = 0) -> int:
        """Write a key; the store's revision."""
        body = {"key": _text(key), "value": _text(value), "lease": str(lease)}
        return _revision(self.ask("kv/put", body))

    def get(self, key: str) -> Stored | None:
        """One key; None if it is not there."""
        return next(iter(self._range({"key": _text(key)})), None)

    def keys(self, prefix: str) -> list[Stored]:
        """All keys that begin with ``prefix``, in key order."""
        return self._range({"key": _text(prefix), "range_end": _text(_end(prefix))})

    def delete(self, key: str, *, prefix: bool = False) -> int:
        """Remove a key, or all that begin with it; the store's revision."""
        body = {"key": _text(key)} | ({"range_end": _text(_end(key))} if prefix else {})
        return _revision(self.ask("kv/deleterange", body))

    def revision(self) -> int:
        """The store's revision now."""
        return _revision(self.ask("kv/range", {"key": _text("\0")}))

    def compact(self, revision: int | None = None) -> int:
        """Forget the history before ``revision`` (now, if None is given); that revision."""
        at = revision or self.revision()
        self.ask("kv/compaction", {"revision": str(at), "physical": True})
        return at

    # -- leases ----------------------------------------------------------------

    def grant(self, ttl: int) -> int:
        """A new etcd lease; its id."""
        return _integer(self.ask("lease/grant", {"TTL": str(ttl)})["ID"])

    def revoke(self, lease: int) -> None:
        self.ask("lease/revoke", {"ID": str(lease)})

    def leases(self) -> set[int]:
        """The ids of all etcd leases."""
        return {_integer(entry["ID"]) for entry in _list(self.ask("lease/leases", {}), "leases")}

    def ttl(self, lease: int) -> int:
        """Seconds that a lease has left; -1 if it is gone."""
        return _integer(self.ask("lease/timetolive", {"ID": str(lease)}).get("TTL", 0))

    # -- the server ------------------------------------------------------------

    def healthy(self) -> bool:
        """It has a leader and answers a linearizable read (also where users are needed)."""
        return self._send("GET", "/health?exclude=NOSPACE", None).get("health") in {"true", True}

    def leads(self) -> bool:
        """This member is the leader."""
        status = self.ask("maintenance/status", {})
        member = _mapping(status["header"])["member_id"]
        return status.get("leader") == member

    def move_leader(self, target: str) -> None:
        """Hand leadership to the member with this id; the leader has to be asked."""
        self.ask("maintenance/transfer-leadership", {"targetID": target})

    def defragment(self) -> None:
        self.ask("maintenance/defragment", {})

    def alarms(self) -> list[str]:
        """The alarms that are raised, such as NOSPACE."""
        answer = self.ask("maintenance/alarm", {"action": "GET"})
        return [str(entry["alarm"]) for entry in _list(answer, "alarms")]

    def fill(self) -> None:
        """Write until it has no room and takes no more: needs a small --quota-backend-bytes."""
        while not self.alarms():
            with suppress(Refused):
                self.put(f"/fill/{self.revision()}", "x" * 20_000)

    def make_room(self) -> None:
        """What people do about ``fill``."""
        self.delete("/fill/", prefix=True)
        self.compact()
        self.defragment()
        self.disarm()

    def disarm(self) -> None:
        """Take all alarms back."""
        for entry in _list(self.ask("maintenance/alarm", {"action": "GET"}), "alarms"):
            self.ask("maintenance/alarm", {"action": "DEACTIVATE", **entry})

    # -- users -----------------------------------------------------------------

    def enable_auth(self, root_password: str) -> None:
        """Make the user root and turn authentication on; this control is root from then on."""
        self.add_user("root", root_password, roles=["root"])
        self.ask("auth/enable", {})
        self.login("root", root_password)

    def login(self, user: str, password: str) -> None:
        """Be this user in what follows."""
        self._user, self._token = (user, password), ""
        answer = self._send("POST", "/v3/auth/authenticate", {"name": user, "password": password})
        self._token = str(answer["token"])

    def add_user(self, user: str, password: str, roles: list[str] | None = None) -> None:
        """A user with roles; of these, those that are not there are made."""
        self.ask("auth/user/add", {"name": user, "password": password})
        for role in roles or []:
            try:
                self.ask("auth/role/add", {"name": role})
            except Refused as error:
                if "already exists" not in str(error):
                    raise
            self.ask("auth/user/grant", {"user": user, "role": role})

    def change_password(self, user: str, password: str) -> None:
        self.ask("auth/user/changepw", {"name": user, "password": password})

    def allow(self, role: str, prefix: str, right: str = "READWRITE") -> None:
        """Let a role READ, WRITE or READWRITE the keys that begin with ``prefix``."""
        permission = {"permType": right, "key": _text(prefix), "range_end": _text(_end(prefix))}
        self.ask("auth/role/grant", {"name": role, "perm": permission})

    # -- below -----------------------------------------------------------------

    def ask(self, call: str, body: Json) -> Json:
        """Any call of etcd's gRPC API, by its path in the gateway."""
        try:
            return self._send("POST", f"/v3/{call}", body)
        except Refused as error:
            if self._user is None or "invalid auth token" not in str(error):
                raise
        try:
            self.login(*self._user)
        except Refused as error:
            if "not enabled" not in str(error):
                raise
            self._user = None
        return self._send("POST", f"/v3/{call}", body)

    def _range(self, body: Json) -> list[Stored]:
        return [
            Stored(
                base64.b64decode(str(entry["key"])).decode(errors="backslashreplace"),
                base64.b64decode(str(entry.get("value", ""))).decode(errors="replace"),
                _integer(entry["mod_revision"]),
                _integer(entry.get("lease", 0)),
            )
            for entry in _list(self.ask("kv/range", body), "kvs")
        ]

    def _send(self, method: str, path: str, body: Json | None) -> Json:
        headers = {"Authorization": self._token} if self._token else {}
        with self._connection() as connection:
            try:
                connection.request(
                    method, path, None if body is None else json.dumps(body), headers
                )
                response = connection.getresponse()
                text = response.read()
            except http.client.HTTPException as error:
                raise OSError(f"no whole answer: {error!r}") from error
        answer = json.loads(text) if text.startswith(b"{") else {"error": text.decode()}
        if response.status != 200:
            raise Refused(answer.get("message") or answer.get("error"))
        return _mapping(answer)

    @contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        made = http.client.HTTPConnection(self._host, self._port)
        inside = self._namespace
        made.sock = inside.call(self._connect) if inside else self._connect()
        try:
            yield made
        finally:
            made.close()

    def _connect(self) -> socket.socket:
        plain = socket.create_connection((self._host, self._port), timeout=_TIMEOUT)
        if self._client is None:
            return plain
        try:
            context = ssl.create_default_context(cafile=str(self._client.ca))
            if self._client.cert:
                context.load_cert_chain(self._client.cert, self._client.key)
            return context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise


def _mapping(value: object) -> Json:
    assert isinstance(value, dict), value
    return value


def _list(answer: Json, name: str) -> list[Json]:
    value = answer.get(name, [])
    assert isinstance(value, list), value
    return value


def _integer(value: object) -> int:
    assert isinstance(value, str | int), value
    return int(value)


def _revision(answer: Json) -> int:
    return _integer(_mapping(answer["header"])["revision"])
