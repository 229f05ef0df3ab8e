"""The one variable that the event loop writes and the forwarding threads read."""

from flannel_sdk_udp.userspace.table import Table


class Tables:
    """Holds the newest table; each batch of packets takes it anew."""

    def __init__(self, first: Table) -> None:
        self.current = first
