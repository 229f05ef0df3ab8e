"""The mount that ``ip netns`` keeps at /run/netns: seen before, and undone after, a lab."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from flannel_sdk.lab.names import NETNS_DIRECTORY


def netns_directory_is_mounted() -> bool:
    """True if some earlier ``ip netns add`` has made /run/netns a mount point."""
    try:
        return _mount_id(NETNS_DIRECTORY) != _mount_id(NETNS_DIRECTORY.parent)
    except FileNotFoundError:
        return False


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


def _mount_id(directory: Path) -> str:
    """Which mount a path is on; /proc/self/mountinfo lists those hidden by others, too."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
        return next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)
