"""Kernel objects, desired state, the reconciler and its netlink codec and sockets; knows no lease."""
