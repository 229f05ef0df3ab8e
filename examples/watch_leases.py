"""Prints the leases of a cluster as they come and go: a store on its own, without an agent.

    python examples/watch_leases.py --endpoints http://192.0.2.1:2379,http://192.0.2.2:2379
    python examples/watch_leases.py --environ     # what FLANNELD_ETCD_ENDPOINTS and so on say
    python examples/watch_leases.py --kubeconfig ~/.kube/config
    python examples/watch_leases.py --in-cluster  # in a pod, with its service account

It needs no root and writes nothing to the store; of a Kubernetes API server it asks for the verbs
list and watch on nodes. It runs until it is interrupted: a server that goes, comes back, or has
forgotten the history, is no reason to end.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

from flannel_sdk.errors import FlannelError
from flannel_sdk.interfaces import SubnetManager
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


async def watch(store: SubnetManager) -> None:
    """Print for ever."""
    known: dict[Subnets, Lease] = {}
    async with aclosing(store), aclosing(store.watch_leases()) as items:
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


def etcd_store(endpoints: str, prefix: str, *, environ: bool) -> SubnetManager:
    """Leases in etcd, as flanneld keeps them there by default."""
    from flannel_sdk_etcd import EtcdOptions, EtcdSubnetManager

    if environ:
        return EtcdSubnetManager(EtcdOptions.from_environ(os.environ))
    return EtcdSubnetManager(EtcdOptions(endpoints=tuple(endpoints.split(",")), prefix=prefix))


def kube_store(kubeconfig: Path | None) -> SubnetManager:
    """Node objects of Kubernetes as leases, as flanneld has it with --kube-subnet-mgr."""
    from flannel_sdk_kube import KubeOptions, KubeSubnetManager

    if kubeconfig is None:
        return KubeSubnetManager(KubeOptions.from_environ(os.environ))
    return KubeSubnetManager(KubeOptions(kubeconfig=kubeconfig))


def main() -> None:
    """Read the command line and watch."""
    parser = argparse.ArgumentParser(description="Print the leases of a cluster.")
    parser.add_argument("--endpoints", default="", metavar="URL,URL", help="those of etcd")
    parser.add_argument("--prefix", default="/coreos.com/network", metavar="KEY")
    parser.add_argument("--environ", action="store_true", help="read FLANNELD_ETCD_*")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="in place of etcd")
    parser.add_argument("--in-cluster", action="store_true", help="the same as a pod")
    args = parser.parse_args()
    try:
        if args.kubeconfig or args.in_cluster:
            store = kube_store(args.kubeconfig)
        else:
            store = etcd_store(args.endpoints, args.prefix, environ=args.environ)
        asyncio.run(watch(store))
    except FlannelError as error:  # one that waiting does not heal: a wrong password, say
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
