"""Prints the leases of a cluster as they come and go: the etcd store on its own, without an agent.

    python examples/watch_leases.py --endpoints http://192.0.2.1:2379,http://192.0.2.2:2379
    python examples/watch_leases.py --environ     # what FLANNELD_ETCD_ENDPOINTS and so on say

It needs no root and writes nothing to etcd. It runs until it is interrupted: a member that goes,
comes back, or has forgotten the history, is no reason to end.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import aclosing, suppress

from flannel_sdk_etcd import EtcdOptions, EtcdSubnetManager

from flannel_sdk.errors import FlannelError
from flannel_sdk.model import Lease, LeaseSnapshot, Subnets


def described(lease: Lease) -> str:
    """``10.5.34.0/24 at 192.0.2.7 (vxlan)``."""
    public_ips = ", ".join(str(address) for address in lease.attrs.public_ips if address)
    kind = lease.attrs.backend_type or "no backend named"
    return f"{named(lease.subnets)} at {public_ips} ({kind})"


def named(subnets: Subnets) -> str:
    """The subnets of one lease."""
    return ", ".join(str(subnet) for subnet in subnets if subnet)


def differences(known: dict[Subnets, Lease], leases: Iterable[Lease]) -> Iterator[str]:
    """What is new or changed in ``leases``, which ``known`` then holds; renewals are not."""
    for lease in leases:
        before = known.get(lease.subnets)
        if before is None or before.attrs != lease.attrs:
            yield f"{'+' if before is None else '~'} {described(lease)}"
        known[lease.subnets] = lease


async def watch(options: EtcdOptions) -> None:
    """Print for ever."""
    known: dict[Subnets, Lease] = {}
    async with EtcdSubnetManager(options) as store, aclosing(store.watch_leases()) as items:
        async for item in items:
            if isinstance(item, LeaseSnapshot):
                # All there is: also what happened while the store could not be reached.
                leases, removed = item.leases, known.keys() - {x.subnets for x in item.leases}
            else:
                leases, removed = item.changed, known.keys() & set(item.removed)
            for subnets in removed:
                del known[subnets]
                print(f"- {named(subnets)}", flush=True)
            for line in differences(known, leases):
                print(line, flush=True)
            for entry in item.malformed:
                print(f"! {entry.key}: {entry.reason}", flush=True)


def main() -> None:
    """Read the command line and watch."""
    parser = argparse.ArgumentParser(description="Print the leases of a cluster.")
    parser.add_argument("--endpoints", default="", metavar="URL,URL")
    parser.add_argument("--prefix", default="/coreos.com/network", metavar="KEY")
    parser.add_argument("--environ", action="store_true", help="read FLANNELD_ETCD_*")
    args = parser.parse_args()
    try:
        if args.environ:
            options = EtcdOptions.from_environ(os.environ)
        else:
            options = EtcdOptions(endpoints=tuple(args.endpoints.split(",")), prefix=args.prefix)
        with suppress(KeyboardInterrupt):
            asyncio.run(watch(options))
    except FlannelError as error:  # one that waiting does not heal: a wrong password, say
        sys.exit(str(error))


if __name__ == "__main__":
    main()
