"""A program for the exec backend's tests: well-behaved, but for what its options tell it to do.

``Log``: a file for what it got and how it ended. ``Do``: Python that is run for each message, with
``message``, ``say``, ``life`` (how often it was started before) and ``answered`` (set it to True).
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def note(word: object) -> None:
    if log is not None:
        with log.open("a") as file:
            file.write(json.dumps(word) + "\n")


def terminated(number: int, frame: object) -> None:
    note("SIGTERM")
    sys.exit(0)


log: Path | None = None
options: dict[str, str] = {}
life = 0
signal.signal(signal.SIGTERM, terminated)
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "register":
        options = message["options"]
        log = Path(options["Log"])
        life = log.read_text().count('"register"') if log.exists() else 0
    note(message)
    scope = {"message": message, "say": say, "life": life, "answered": False}
    scope |= {"os": os, "sys": sys, "time": time}
    exec(options.get("Do", ""), scope)
    if scope["answered"]:
        continue
    match message["type"]:
        case "register":
            say(type="publish", protocol=1)
        case "lease":
            say(type="registered", mtu=1400)
        case "update":
            say(type="ack", id=message["id"])
        case "ping":
            say(type="pong", id=message["id"])
note("end of input")
