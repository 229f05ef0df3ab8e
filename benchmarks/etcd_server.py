"""An etcd of a benchmark's own on loopback, and a plain gRPC writer that fills it."""

import asyncio
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from flannel_sdk_etcd.schema import (
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    RequestOp,
    TxnRequest,
    TxnResponse,
)
from flannel_sdk_etcd.server_program import find_server

from benchmarks.cluster import peer_entry

CONFIG = b'{"Network": "10.0.0.0/8", "Backend": {"Type": "vxlan"}}'
_START_SECONDS = 20.0
_PUTS_A_TRANSACTION = 100
"""etcd takes 128."""
_IN_FLIGHT = 64
_TOUCHED = 60_000


@contextmanager
def etcd_server() -> Iterator[str]:
    """One member with a fresh folder, in memory where there is /dev/shm; its endpoint.

    How long a disk takes to sync is not what is measured.
    """
    client, peers = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="flannel-bench-", dir=memory) as folder:
        command = [
            str(find_server(os.environ)),
            *("--name", "bench", "--data-dir", folder),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"bench={peers}", "--logger", "zap", "--log-level", "error"),
        ]
        server = subprocess.Popen(command, env=environment)
        try:
            _wait_answer(client)
            yield client
        finally:
            server.kill()
            server.wait()


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _wait_answer(endpoint: str) -> None:
    """Until it answers a linearizable read, for which it has to have a leader."""
    import grpc

    with grpc.insecure_channel(endpoint.removeprefix("http://")) as channel:
        read = channel.unary_unary(
            "/etcdserverpb.KV/Range", RangeRequest.SerializeToString, RangeResponse.FromString
        )
        read(RangeRequest(key=b"x"), timeout=_START_SECONDS, wait_for_ready=True)


class Writer:
    """Writes leases as other nodes would; each of its methods returns when etcd has them."""

    def __init__(self, endpoint: str, prefix: str) -> None:
        self._target = endpoint.removeprefix("http://")
        self._prefix = prefix.encode()

    def fill(self, count: int) -> None:
        """The network's configuration and peers 1 to ``count``, in transactions."""
        keys = [(self._prefix + b"/config", CONFIG)]
        keys += [self._entry(number) for number in range(1, count + 1)]
        puts = [RequestOp(request_put=PutRequest(key=key, value=value)) for key, value in keys]
        step = _PUTS_A_TRANSACTION
        batches = [
            TxnRequest(success=puts[start : start + step]) for start in range(0, len(puts), step)
        ]
        asyncio.run(self._send(batches, "Txn", TxnRequest, TxnResponse, 8))

    def touch(self) -> None:
        """Change one peer that the others leave alone."""
        key, value = self._entry(_TOUCHED)
        puts = [PutRequest(key=key, value=value)]
        asyncio.run(self._send(puts, "Put", PutRequest, PutResponse, 1))

    def burst(self, count: int) -> float:
        """``count`` puts, each a revision of its own, many at once; seconds that they took."""
        puts = [
            PutRequest(key=key, value=value)
            for key, value in (self._entry(number, 1) for number in range(1, count + 1))
        ]
        begin = time.monotonic()
        asyncio.run(self._send(puts, "Put", PutRequest, PutResponse, _IN_FLIGHT))
        return time.monotonic() - begin

    def one_by_one(self, values: Iterable[bytes], pause: float) -> list[float]:
        """Put each value for another peer, ``pause`` seconds after the one before.

        Changes of one peer that come close together are told as one. Gives the seconds that etcd
        took to answer each.
        """
        import grpc

        seconds = []
        with grpc.insecure_channel(self._target) as channel:
            put = channel.unary_unary(
                "/etcdserverpb.KV/Put", PutRequest.SerializeToString, PutResponse.FromString
            )
            for number, value in enumerate(values, start=1):
                begin = time.monotonic()
                put(PutRequest(key=self._entry(number)[0], value=value), timeout=10)
                seconds.append(time.monotonic() - begin)
                time.sleep(pause)
        return seconds

    def _entry(self, number: int, generation: int = 0) -> tuple[bytes, bytes]:
        key, value = peer_entry(number, generation)
        return self._prefix + b"/subnets/" + key.encode(), value

    async def _send(
        self,
        requests: Sequence[PutRequest] | Sequence[TxnRequest],
        method: str,
        request_type: type[PutRequest] | type[TxnRequest],
        response_type: type[PutResponse] | type[TxnResponse],
        in_flight: int,
    ) -> None:
        from grpc import aio

        waiting = iter(requests)
        async with aio.insecure_channel(self._target) as channel:
            call = channel.unary_unary(
                f"/etcdserverpb.KV/{method}",
                request_type.SerializeToString,
                response_type.FromString,
            )

            async def send() -> None:
                for request in waiting:
                    await call(request, timeout=30)

            async with asyncio.TaskGroup() as tasks:
                for _ in range(in_flight):
                    tasks.create_task(send())
