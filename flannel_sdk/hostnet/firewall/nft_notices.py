"""Notices of changed nf_tables: one for each transaction of anybody's, with who made it."""

import errno
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.messages import attributes
from flannel_sdk.netlink.socket_filter import (
    ALL,
    GIVE,
    IF_EQUAL,
    LOAD_HALF,
    attach_filter,
    swapped_half,
)

_MESSAGES_A_TURN: Final = 256


class NftNotices:
    """A socket in nf_tables' group; made inside the namespace, read in the event loop."""

    def __init__(self) -> None:
        """OSError where there is no nf_tables."""
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, n.NETLINK_NETFILTER
        )
        try:
            # A transaction may change thousands of elements; the message that ends it is enough.
            with suppress(OSError):
                attach_filter(
                    self.socket,
                    (
                        (LOAD_HALF, 0, 0, 4),  # nlmsg_type
                        (IF_EQUAL, 0, 1, swapped_half(n.NFT_MSG_NEWGEN)),
                        (GIVE, 0, 0, ALL),
                        (GIVE, 0, 0, 0),
                    ),
                )
            self.socket.bind((0, 0))
            self.socket.setsockopt(c.SOL_NETLINK, c.NETLINK_ADD_MEMBERSHIP, n.NFNLGRP_NFTABLES)
        except OSError:
            self.socket.close()
            raise
        self._buffer = bytearray(1 << 16)

    def read(self) -> list[str]:
        """Who has changed rules since, oldest first: names of programs.

        An empty name is this process, or what is not known.
        """
        authors: list[str] = []
        for _ in range(_MESSAGES_A_TURN):
            try:
                end = self.socket.recv_into(self._buffer)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                authors.append("")
                continue
            found = attributes(self._buffer, 20, end)
            thread = int.from_bytes(found.get(n.NFTA_GEN_PROC_PID, b""), "big")
            name = found.get(n.NFTA_GEN_PROC_NAME, b"").rstrip(b"\0").decode(errors="replace")
            authors.append("" if Path(f"/proc/self/task/{thread}").exists() else name)
        return authors

    def close(self) -> None:
        """Free the descriptor."""
        self.socket.close()
