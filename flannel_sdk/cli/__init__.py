"""The ``flannel-sdk`` program: one module a command, imported when it is asked for."""

from flannel_sdk.cli.frame import COMMANDS, Command, main

__all__ = ["COMMANDS", "Command", "main"]
