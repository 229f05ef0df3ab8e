"""One node with an exec backend whose program is ``actor.py``."""

import json
import sys
from pathlib import Path

from flannel_sdk_exec import plugin

from flannel_sdk.interfaces import Backend, BackendContext, Network
from flannel_sdk.model import (
    ByFamily,
    ExternalInterface,
    IPAddress,
    Lease,
    LeaseAttrs,
    Prefix,
    Subnets,
)
from flannel_sdk.testing.scripted import ScriptedLeases
from tests.overlay import V4, V6, config

ACTOR = [sys.executable, "-I", "-S", str(Path(__file__).with_name("actor.py"))]
IPS = ByFamily(IPAddress.parse("192.0.2.1"), IPAddress.parse("2001:db8::1"))
SUBNETS: Subnets = ByFamily(Prefix.parse("10.5.1.0/24"), Prefix.parse("fd00:5:0:1::/64"))


def peer(number: int, *, backend: str = "exec", data: str | None = None) -> Lease:
    return Lease(
        ByFamily(Prefix.parse(f"10.5.{number}.0/24")),
        LeaseAttrs(ByFamily(IPAddress.parse(f"192.0.2.{number}")), backend, ByFamily(data)),
    )


class Site:
    """The backend, what its programs wrote down, and what was published."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.leases = ScriptedLeases(SUBNETS._replace(ipv6=None))
        interface = ExternalInterface("eth0", 2, 1500, IPS, IPS)
        self.backend: Backend = plugin.create(BackendContext(interface, None))

    async def register(self, do: str = "", *, dual: bool = False, **options: object) -> Network:
        """A network whose program runs ``do`` for each message."""
        families = (V4, V6) if dual else (V4,)
        if dual:
            self.leases.subnets = SUBNETS
        given: dict[str, object] = {"Command": ACTOR, "Log": str(self.log), "Do": do, **options}
        return await self.backend.register_network(config("exec", *families, **given), self.leases)

    def noted(self) -> list[object]:
        """What the programs wrote down, in order."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def updates(self) -> list[dict[str, object]]:
        """The updates that the programs got."""
        notes = self.noted()
        return [note for note in notes if isinstance(note, dict) and note["type"] == "update"]
