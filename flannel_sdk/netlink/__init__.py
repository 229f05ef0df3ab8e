"""Netlink framing and a socket for requests and dumps; knows no kernel object and no policy."""
