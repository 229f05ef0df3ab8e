"""subnet.env: what CNI plugins and scripts read about this node's network (flannel 1.5, 1.6)."""

import os
import tempfile
from pathlib import Path

from flannel_sdk.model import ByFamily, Family, Lease, NetworkConfig, Prefix, Subnets

_NAMES = {
    Family.IPV4: ("FLANNEL_NETWORK", "FLANNEL_SUBNET"),
    Family.IPV6: ("FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET"),
}


def render_subnet_file(config: NetworkConfig, lease: Lease, mtu: int, *, ip_masq: bool) -> str:
    """The file's text: two lines for each enabled family, then MTU (bytes) and IPMASQ."""
    lines = []
    for family, pool in config.pools.items_by_family():
        subnet = lease.subnet(family)
        if subnet is None:
            continue
        network_name, subnet_name = _NAMES[family]
        lines.append(f"{network_name}={pool.network.masked()}")
        lines.append(f"{subnet_name}={subnet.host(1)}/{subnet.length}")
    lines.append(f"FLANNEL_MTU={mtu}")
    lines.append(f"FLANNEL_IPMASQ={'true' if ip_masq else 'false'}")
    return "\n".join(lines) + "\n"


def write_subnet_file(path: Path, text: str) -> None:
    """Replace ``path`` at once with mode 0644, synced; its folders are made. OSError on failure."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_previous_subnets(path: Path) -> Subnets | None:
    """The subnets that an earlier run wrote; None where there is none or more than one of a family.

    An unreadable file or value counts as none: it is a wish, and never a reason not to start.
    """
    values = _values(path)
    found: Subnets = ByFamily()
    for family, (_, name) in _NAMES.items():
        found = found.with_value(family, _single_network(values.get(name, ""), family))
    return found if found.families else None


def read_previous_networks(path: Path) -> list[tuple[Prefix, Prefix]]:
    """Network and subnet of each family that an earlier run wrote; those it can be told of."""
    values = _values(path)
    found = []
    for family, names in _NAMES.items():
        network, subnet = (_single_network(values.get(name, ""), family) for name in names)
        if network is not None and subnet is not None:
            found.append((network, subnet))
    return found


def _values(path: Path) -> dict[str, str]:
    try:
        return dict(_assignments(path.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return {}


def _assignments(text: str) -> list[tuple[str, str]]:
    pairs = []
    for raw in text.splitlines():
        name, equals, value = raw.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            pairs.append((name.strip(), value.strip().strip("\"'")))
    return pairs


def _single_network(value: str, family: Family) -> Prefix | None:
    networks = []
    for element in value.split(","):
        try:
            networks.append(Prefix.parse(element.strip()).masked())
        except ValueError:
            continue
    matching = [network for network in networks if network.family is family]
    return matching[0] if len(matching) == 1 else None
