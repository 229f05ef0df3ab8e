"""A stand-in for the daemon, so that the lab is tested apart from it: static routes, no store.

Usage: standin_daemon.py NUMBER NODES UNDERLAY_PREFIX SUBNET_FILE STATUS_SOCKET
Node n has the subnet 10.5.n.0/24 and routes to all others over the underlay.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def main() -> None:
    number, nodes, underlay, subnet_file, status_socket = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for other in range(1, int(nodes) + 1):
        if other != int(number):
            route = f"ip route replace 10.5.{other}.0/24 via {underlay}.{other} dev eth0"
            subprocess.run(route.split(), check=True)
    Path(status_socket).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(status_socket)
        listener.listen()
        subnet = f"FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.{number}.1/24\n"
        temporary = Path(f"{subnet_file}.new")
        temporary.write_text(f"{subnet}FLANNEL_MTU=1400\nFLANNEL_IPMASQ=false\n")
        temporary.rename(subnet_file)
        print("standing in", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(json.dumps({"state": "running"}).encode() + b"\n")


if __name__ == "__main__":
    main()
