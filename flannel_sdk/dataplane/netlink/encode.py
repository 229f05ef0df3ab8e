"""Operations to messages."""

from collections.abc import Sequence
from typing import assert_never

from flannel_sdk.dataplane.netlink.address import encode_addresses
from flannel_sdk.dataplane.netlink.neighbour import encode_fdb, encode_neighbours
from flannel_sdk.dataplane.netlink.route import encode_routes, encode_strays
from flannel_sdk.dataplane.requests import (
    AddressOperation,
    FdbOperation,
    NeighbourOperation,
    Operation,
    RouteOperation,
    StrayRouteOperation,
)


def encode(operations: Sequence[Operation], first: int) -> list[bytes]:
    """One message for each row of each operation, in order, numbered in a row from ``first``."""
    messages: list[bytes] = []
    for operation in operations:
        messages += _encode(operation, first + len(messages))
    return messages


def _encode(operation: Operation, first: int) -> list[bytes]:
    if isinstance(operation, NeighbourOperation):
        return encode_neighbours(operation, first)
    if isinstance(operation, FdbOperation):
        return encode_fdb(operation, first)
    if isinstance(operation, RouteOperation):
        return encode_routes(operation, first)
    if isinstance(operation, StrayRouteOperation):
        return encode_strays(operation, first)
    if isinstance(operation, AddressOperation):
        return encode_addresses(operation, first)
    assert_never(operation)
