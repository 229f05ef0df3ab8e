"""What this process may do: a lab needs namespaces, links and raw sockets."""

from pathlib import Path

_NET_ADMIN, _NET_RAW, _SYS_ADMIN = 12, 13, 21
_NEEDED = 1 << _NET_ADMIN | 1 << _NET_RAW | 1 << _SYS_ADMIN


def has_lab_rights() -> bool:
    """True with CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN, as root has them."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & _NEEDED == _NEEDED
    return False
