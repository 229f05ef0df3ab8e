"""Where a network lies in etcd: flannel's keys below its prefix (flannel chapter 4.1)."""

from posixpath import normpath

from flannel_sdk.model import Subnets, format_subnet_key


class Keys:
    """The keys of one network."""

    def __init__(self, prefix: str) -> None:
        self.config = _join(prefix, "config")
        self.subnets = _join(prefix, "subnets") + b"/"
        """What the key of each lease begins with."""

    def of(self, subnets: Subnets) -> bytes:
        """The key of a lease; ValueError if these are no subnets of one."""
        return self.subnets + format_subnet_key(subnets).encode()

    def name(self, key: bytes) -> str:
        """What follows ``subnets/`` in a key, whatever its bytes are."""
        return key[len(self.subnets) :].decode("utf-8", "backslashreplace")


def _join(prefix: str, name: str) -> bytes:
    """As Go's ``path.Join``."""
    path = normpath(f"{prefix}/{name}" if prefix else name)
    if path.startswith("//"):  # which POSIX leaves alone
        path = path[1:]
    return path.encode("utf-8", "surrogateescape")
