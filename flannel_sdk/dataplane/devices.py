"""Making devices that our own codec does not; pyroute2 is imported only when one has to be made."""

from flannel_sdk.dataplane.objects import Device
from flannel_sdk.dataplane.tun import TUN, make_tun


def make_device(device: Device, lower: int | None) -> None:
    """Create a device, down, in the calling thread's namespace; OSError if refused."""
    if device.kind == TUN:
        make_tun(device.name)
        return
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    options: dict[str, object] = dict(device.attributes)
    if device.mtu:
        options["mtu"] = device.mtu
    if device.mac is not None:
        options["address"] = str(device.mac)
    if lower is not None:
        options["link"] = lower
    with IPRoute() as route:
        try:
            route.link("add", ifname=device.name, kind=device.kind, **options)
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error


def read_attributes(name: str) -> dict[str, object]:
    """The attributes of a device's kind under pyroute2's short names; OSError if it is gone."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as route:
        try:
            links = list(route.get_links(ifname=name))
        except NetlinkError as error:
            raise OSError(error.code, str(error)) from error
    data = links[0].get(("linkinfo", "data")) if links else None
    if data is None:
        return {}
    found: dict[str, object] = {}
    for full_name, value in data["attrs"]:
        # IFLA_BR_AGEING_TIME is br_ageing_time; the first word is the same for all.
        found[str(full_name).removeprefix("IFLA_").lower()] = value
    return found
