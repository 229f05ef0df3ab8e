"""Where a daemon's files are on a host unless it is told otherwise."""

from pathlib import Path

DEFAULT_SUBNET_FILE = Path("/run/flannel/subnet.env")
DEFAULT_STATUS_SOCKET = Path("/run/flannel/flannel-sdk.sock")
