"""Making devices through pyroute2, which is imported only when one has to be made."""

from flannel_sdk.dataplane.objects import Device


def make_device(device: Device, lower: int | None) -> None:
    """Create a device, down, in the calling thread's namespace; OSError if refused."""
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
