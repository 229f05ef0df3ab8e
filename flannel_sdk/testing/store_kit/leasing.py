"""Configuration, and which lease a node gets."""

import asyncio
import time
from dataclasses import replace

from flannel_sdk.errors import ConfigMissing, OutOfSubnets
from flannel_sdk.model import NetworkConfig
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import held
from flannel_sdk.testing.store_kit.bench import (
    DUAL,
    NETWORK,
    ONLY_IPV6,
    TIGHT,
    V4,
    V6,
    StoreSite,
    attrs,
    in_time,
    refused,
    subnets,
    words,
)
from flannel_sdk.testing.store_kit.harness import CanReserve
from flannel_sdk.testing.store_kit.watched import knows, watching


class Leasing(Conformance):
    """Of one node and of several."""

    @requirement(
        "S101",
        "get_network_config gives the configuration, and ConfigMissing where there is none",
        why="An agent that starts before the network is configured waits for it.",
    )
    async def test_config(self, site: StoreSite) -> None:
        """Before and after it is written, by one manager: an agent waits for it so."""
        async with site.bench(None) as bench:
            manager = await bench.open()
            await refused(
                manager.get_network_config(), ConfigMissing, "without one get_network_config"
            )
            await bench.harness.configure(NETWORK)
            found = await in_time(manager.get_network_config(), "get_network_config")
            wanted = NetworkConfig.parse(NETWORK)
            if site.assigned_by:  # which may assign more than the configuration has room for
                wanted = replace(wanted, pools=found.pools)
            held(found == wanted, f"it gives {found}")

    @requirement(
        "S102",
        "get_network_config gives the configuration as it is now",
        why="An agent applies a change while it runs; with the old one it stays behind its peers.",
    )
    async def test_config_changes(self, site: StoreSite) -> None:
        """Replaced between two calls of one manager."""
        async with site.bench() as bench:
            manager = await bench.open()
            for port in (8472, 8473):
                document = NETWORK.replace('"vxlan"', f'"vxlan", "Port": {port}')
                await bench.harness.configure(document)
                found = await in_time(manager.get_network_config(), "get_network_config")
                have = found.backend_options.get("Port")
                held(have == port, f"the configuration says port {port}, it gives {have}")

    @requirement(
        "S110",
        "A lease lies in the network, ends later than now, and is in the store as it was given",
        why="What acquire_lease gives is what this node routes; what the store holds is what its"
        " peers do.",
    )
    async def test_lease(self, site: StoreSite) -> None:
        """Of one node."""
        async with site.bench() as bench:
            lease = await bench.lease(1)
            pool = NetworkConfig.parse(NETWORK).pools.ipv4
            own = lease.subnets.ipv4
            assert pool is not None
            if own is None or lease.subnets.ipv6 is not None:
                held(False, f"an IPv4 network gives {words(lease.subnets)}")
                return
            held(
                pool.network.covers(own.address) and own.length == pool.subnet_length,
                f"{own} is no /{pool.subnet_length} in {pool.network}",
            )
            held(lease.attrs == attrs(1), f"it publishes {lease.attrs}, not {attrs(1)}")
            held(
                lease.expires_at is None or lease.expires_at > time.time(),
                "the lease has ended when it is given",
            )
            async with watching(await bench.open(2)) as watched:
                await watched.until(knows(lease), "the lease")

    @requirement(
        "S111",
        "A node that asks again gets its own lease again, with what it publishes now",
        why="After a restart without subnet.env a node has to keep its pods' addresses (flannel"
        " 4.5), and its new MAC has to reach the peers.",
    )
    async def test_adopts(self, site: StoreSite) -> None:
        """By the same manager, and by another as after a restart."""
        async with site.bench() as bench:
            first = await bench.lease(1)
            for mac in (1, 2):
                manager = await bench.open(1)
                again = await in_time(manager.acquire_lease(attrs(1, mac=mac)), "acquire_lease")
                held(
                    again.subnets == first.subnets,
                    f"it held {words(first.subnets)} and gets {words(again.subnets)}",
                )
                held(again.attrs == attrs(1, mac=mac), f"it publishes {again.attrs}")
                async with watching(await bench.open(2)) as watched:
                    await watched.until(knows(again), "the adopted lease")

    @requirement(
        "S112",
        "Nodes that come at the same time never hold the same subnet",
        why="Two nodes with one subnet take each other's packets; flannel fails instead (D3).",
    )
    async def test_concurrent(self, site: StoreSite) -> None:
        """As many as there are subnets, all at once."""
        site.chooses()
        async with site.bench(TIGHT) as bench:
            managers = [await bench.open(node) for node in range(1, 6)]
            leases = await asyncio.gather(
                *(
                    in_time(manager.acquire_lease(attrs(node)), "acquire_lease")
                    for node, manager in enumerate(managers, 1)
                )
            )
            found = {lease.subnets for lease in leases}
            held(len(found) == 5, f"five nodes got {len(found)} subnets")
            async with watching(managers[0]) as watched:
                await watched.until(knows(*leases), "what each node was given")

    @requirement(
        "S113",
        "OutOfSubnets where all subnets are taken, and none is taken away",
        why="The agent waits for a lease to end; a subnet that is shared instead breaks two nodes.",
    )
    async def test_full(self, site: StoreSite) -> None:
        """Of five subnets."""
        site.chooses()
        async with site.bench(TIGHT) as bench:
            leases = [await bench.lease(node) for node in range(1, 6)]
            manager = await bench.open(6)
            await refused(manager.acquire_lease(attrs(6)), OutOfSubnets, "a sixth acquire_lease")
            async with watching(manager) as watched:
                await watched.until(knows(*leases), "the five leases")

    @requirement(
        "S114",
        "The subnet that a node had before is given to it again where it is free",
        why="Pods keep their addresses over a restart that took longer than the lease.",
    )
    async def test_previous(self, site: StoreSite) -> None:
        """One that is in no lease."""
        site.chooses()
        async with site.bench() as bench:
            wanted = subnets("10.5.77.0/24")
            manager = await bench.open()
            lease = await in_time(manager.acquire_lease(attrs(1), wanted), "acquire_lease")
            held(
                lease.subnets == wanted, f"{words(wanted)} is free, it gets {words(lease.subnets)}"
            )

    @requirement(
        "S115",
        "The subnet that a node had before is not taken from whoever holds it now",
        why="A copied subnet.env stole a live node's subnet in old flannels (D9).",
    )
    async def test_previous_taken(self, site: StoreSite) -> None:
        """By another node."""
        site.chooses()
        async with site.bench() as bench:
            other = await bench.lease(1)
            manager = await bench.open(2)
            lease = await in_time(manager.acquire_lease(attrs(2), other.subnets), "acquire_lease")
            held(lease.subnets != other.subnets, f"two nodes hold {words(other.subnets)}")
            async with watching(manager) as watched:
                await watched.until(knows(other, lease), "both leases")

    @requirement(
        "S103",
        "A subnet that is not in the network is not given, whoever had it",
        why="After a change of the network nobody takes a lease outside of it for a peer's.",
    )
    async def test_outside(self, site: StoreSite) -> None:
        """As the one had before, and as the lease that the store still holds."""
        site.chooses()
        async with site.bench() as bench:
            manager = await bench.open(1)
            before = subnets("10.99.7.0/24")
            lease = await in_time(manager.acquire_lease(attrs(1), before), "acquire_lease")
            held(lease.subnets != before, f"{words(before)} is given, which is not in the network")
            await bench.harness.configure(NETWORK.replace("10.5.", "10.6."))
            manager = await bench.open(1)
            moved = await in_time(manager.acquire_lease(attrs(1)), "acquire_lease")
            held(
                str(moved.subnets.ipv4).startswith("10.6."),
                f"the network is 10.6.0.0/16 by now, and {words(moved.subnets)} is given",
            )

    @requirement(
        "S116",
        "Nodes with IPv6 alone get leases of their own, and get them again",
        why="flannel took all of them for one node, as they had the IPv4 address 0.0.0.0 (D10).",
    )
    async def test_only_ipv6(self, site: StoreSite) -> None:
        """Two nodes."""
        site.chooses()
        async with site.bench(ONLY_IPV6) as bench:
            one, two = await bench.open(1), await bench.open(2)
            first = await in_time(one.acquire_lease(attrs(1, V6)), "acquire_lease")
            second = await in_time(two.acquire_lease(attrs(2, V6)), "acquire_lease")
            held(first.subnets != second.subnets, f"two nodes hold {words(first.subnets)}")
            held(
                first.subnets.ipv4 is None and first.subnets.ipv6 is not None,
                f"an IPv6 network gives {words(first.subnets)}",
            )
            again = await in_time(one.acquire_lease(attrs(1, V6, mac=1)), "acquire_lease")
            held(
                again.subnets == first.subnets,
                f"it held {words(first.subnets)} and gets {words(again.subnets)}",
            )

    @requirement(
        "S117",
        "A dual-stack lease has a subnet of each family and publishes both",
        why="A peer that lacks half of a lease routes half of the traffic.",
    )
    async def test_dual(self, site: StoreSite) -> None:
        """Given, and told to others."""
        site.chooses()
        async with site.bench(DUAL) as bench:
            manager = await bench.open()
            published = attrs(1, V4, V6)
            lease = await in_time(manager.acquire_lease(published), "acquire_lease")
            held(None not in lease.subnets, f"a dual network gives {words(lease.subnets)}")
            held(lease.attrs == published, f"it publishes {lease.attrs}, not {published}")
            async with watching(await bench.open(2)) as watched:
                await watched.until(knows(lease), "the whole lease")

    @requirement(
        "S118",
        "A reservation is adopted by its node and stays permanent",
        why="An operator fixes a node's subnet so; flannel makes a lease of a day of it (D5).",
    )
    async def test_reservation(self, site: StoreSite) -> None:
        """Acquired, renewed, and told to others."""
        site.chooses()
        async with site.bench() as bench:
            reserved = subnets("10.5.88.0/24")
            await bench.able(CanReserve).reserve(reserved, attrs(1))
            manager = await bench.open(1)
            lease = await in_time(manager.acquire_lease(attrs(1, mac=1)), "acquire_lease")
            held(lease.subnets == reserved, f"it gets {words(lease.subnets)} instead")
            held(lease.expires_at is None, "the reservation ends, once it is acquired")
            lease = await in_time(manager.renew_lease(lease), "renew_lease")
            held(lease.expires_at is None, "the reservation ends, once it is renewed")
            async with watching(await bench.open(2)) as watched:
                await watched.until(knows(lease), "the reservation")
            other = await bench.lease(2)
            held(other.subnets != reserved, "the reservation is given to another node")

    @requirement(
        "S119",
        "The methods of one manager can be used at the same time",
        why="An agent renews, watches and reads the configuration at once.",
    )
    async def test_methods_at_once(self, site: StoreSite) -> None:
        """Each of them."""
        async with site.bench() as bench:
            manager = await bench.open()
            lease = await in_time(manager.acquire_lease(attrs(1)), "acquire_lease")
            async with watching(manager) as one, watching(manager) as two:
                results = await asyncio.gather(
                    in_time(manager.renew_lease(lease), "renew_lease"),
                    in_time(manager.get_network_config(), "get_network_config"),
                    in_time(manager.acquire_lease(attrs(1)), "acquire_lease"),
                    in_time(manager.get_network_config(), "get_network_config"),
                    return_exceptions=True,
                )
                for result in results:
                    held(not isinstance(result, Exception), f"one of them raised {result!r}")
                for watched in (one, two):
                    await watched.until(knows(lease), "the lease")
