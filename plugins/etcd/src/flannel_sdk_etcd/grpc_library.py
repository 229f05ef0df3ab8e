"""The gRPC library, set up as this package needs it; imported by nobody else directly.

With gRPC's fork handlers a forked child of a process with a live channel may crash, so they are
off; a forked child cannot use its parent's client either way (spawn and forkserver are fine).
"""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from grpc import aio

__all__ = ["aio", "grpc"]
