"""The daemons of the other nodes: asked at their health ports, and missed where entries went."""

import asyncio
import errno
import socket
from collections.abc import Iterator, Sequence

from flannel_sdk.doctor.findings import Finding, Layer
from flannel_sdk.doctor.patient import Patient
from flannel_sdk.doctor.probes import Target, ping_underlay
from flannel_sdk.doctor.store_checks import gone_peers
from flannel_sdk.health.facts import first, number, texts
from flannel_sdk.model import IPAddress
from flannel_sdk.netns import run_in_netns

_PATIENCE = 2.0
"""Seconds for a daemon to answer."""
_AT_ONCE = 64


async def check_gone(patient: Patient) -> list[Finding]:
    """Nodes whose entries went from the store, and which are there all the same."""
    gone = list(gone_peers(patient))
    addresses = {ip: IPAddress.parse(ip) for peer in gone for ip in texts(peer, "public_ips")}
    answers = await ping_underlay(patient, addresses.values())
    findings = []
    for peer in gone:
        alive = [
            ip for ip in texts(peer, "public_ips") if answers[addresses[ip]].round_trip is not None
        ]
        if alive:
            subnet, seconds = first(peer, "subnets"), number(peer, "seconds_ago") or 0.0
            findings.append(
                Finding(
                    Layer.STORE,
                    f"The entry of {alive[0]} for {subnet} went from the store {seconds:.0f} s ago,"
                    " and the node still answers.",
                    f"Start flannel-sdk daemon on {alive[0]}: it leases again.",
                    peer=subnet,
                )
            )
    return findings


async def check_daemons(patient: Patient, found: Sequence[Target], port: int) -> list[Finding]:
    """Daemons of peers that do not answer ``/healthz`` at ``port``, which is ours as well."""
    limit = asyncio.Semaphore(_AT_ONCE)
    by_peer: dict[str, Target] = {}
    for target in found:
        if target.public_ip is not None:
            by_peer.setdefault(target.peer.name, target)

    async def ask(target: Target) -> str | None:
        assert target.public_ip is not None
        async with limit:
            return await _ask(patient.netns, target.public_ip, port)

    async with asyncio.TaskGroup() as tasks:
        asked = {name: tasks.create_task(ask(target)) for name, target in by_peer.items()}
    return list(_silent({name: task.result() for name, task in asked.items()}, by_peer, port))


def _silent(
    answers: dict[str, str | None], by_peer: dict[str, Target], port: int
) -> Iterator[Finding]:
    for name, problem in answers.items():
        if problem is not None:
            public_ip = by_peer[name].public_ip
            yield Finding(
                Layer.PEER,
                f"The daemon of {public_ip} does not answer on port {port}: {problem}.",
                f"Start or restart flannel-sdk daemon on {public_ip}; traffic to it goes on until"
                " its lease ends, but it hears of no change.",
                peer=name,
            )


async def _ask(netns: str | None, address: IPAddress, port: int) -> str | None:
    """What is wrong with the answer; None if nothing is."""
    loop = asyncio.get_running_loop()
    try:
        with run_in_netns(netns, lambda: _tcp_socket(address)) as connection:
            async with asyncio.timeout(_PATIENCE):
                await loop.sock_connect(connection, (str(address), port))
                await loop.sock_sendall(connection, b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")
                first_line = (await loop.sock_recv(connection, 256)).partition(b"\r\n")[0]
    except TimeoutError:
        return f"nothing came within {_PATIENCE:g} s"
    except OSError as error:
        if error.errno == errno.ECONNREFUSED:
            return "nobody listens there"
        return error.strerror or str(error)
    words = first_line.split(b" ")
    return None if words[1:2] == [b"200"] else "what answers there is no healthy daemon"


def _tcp_socket(address: IPAddress) -> socket.socket:
    return socket.socket(int(address.family), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
