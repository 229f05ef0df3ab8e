"""Nodes and networks for the tests of the stores."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing

from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    LeaseDelta,
    LeaseSnapshot,
    Prefix,
    Subnets,
    format_subnet_key,
)
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from flannel_sdk.stores.table import Writer

IPV4 = '{"Network":"10.3.0.0/16","Backend":{"Type":"vxlan"}}'
DUAL = '{"Network":"10.3.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"}'
IPV6 = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"}'
TINY = '{"Network":"10.3.0.0/28","SubnetLen":30}'
ONE_SUBNET = '{"Network":"10.3.0.0/28","SubnetLen":30,"SubnetMax":"10.3.0.4"}'


def node(number: int, mac: str = "c6:d2:32:6f:8f:44") -> LeaseAttrs:
    data = f'{{"VNI":1,"VtepMAC":"{mac}"}}'
    return LeaseAttrs(ByFamily(address4(number)), "vxlan", ByFamily(data))


def address4(number: int) -> IPAddress:
    return IPAddress.from_int(0xC0A80000 + number, Prefix.parse("0.0.0.0/0").family)


def subnets(text: str) -> Subnets:
    return ByFamily(Prefix.parse(text))


async def put(
    store: EmbeddedSubnetManager, key: str, value: bytes, expires_at: float | None = None
) -> None:
    """Write an entry past the store's own rules, as another program might."""

    def work(table: Writer) -> None:
        table.put(key, value, expires_at)

    await store.storage.write(work)


async def delete(store: EmbeddedSubnetManager, lease: Lease) -> None:
    await store.storage.write(lambda table: table.delete(format_subnet_key(lease.subnets)))


def watching(
    store: EmbeddedSubnetManager,
) -> AbstractAsyncContextManager[AsyncGenerator[LeaseSnapshot | LeaseDelta, None]]:
    return aclosing(store.watch_leases())
