"""Packets that prove a path: the kernel at its other end answers them by itself."""
