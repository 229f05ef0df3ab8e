"""The mount that ``ip netns`` keeps at /run/netns: seen before, and undone after, a lab."""

import os
import subprocess
from contextlib import suppress

from flannel_sdk.lab.names import NETNS_DIRECTORY


def netns_directory_is_mounted() -> bool:
    """True if some earlier ``ip netns add`` has made /run/netns a mount point."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        return any(line.split()[4] == str(NETNS_DIRECTORY) for line in lines)


def leave_netns_directory() -> None:
    """Unmount and remove /run/netns if no namespace is left in it; otherwise leave it be.

    Not a lazy unmount: the kernel refuses while anybody has a namespace mounted below.
    """
    with suppress(OSError):
        if os.listdir(NETNS_DIRECTORY):
            return
        umount = ["umount", "-n", str(NETNS_DIRECTORY)]
        subprocess.run(umount, check=False, capture_output=True, timeout=5)
        NETNS_DIRECTORY.rmdir()
