"""The frame of the program: finds the command, runs it, turns errors into a sentence and a code.

Exit codes: 0 done, 1 a FlannelError, 2 wrong usage (WrongUsage too), 130 interrupted, 141 the
reader went away; a command may return others.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn, Protocol, cast

from flannel_sdk import __version__
from flannel_sdk.cli.wrong_usage import exit_code
from flannel_sdk.errors import FlannelError
from flannel_sdk.task_groups import leaves

PROGRAM = "flannel-sdk"


class Command(NamedTuple):
    """Where a command lives and what it does; ``module`` is imported only when it is asked for."""

    module: str
    help: str


class CommandModule(Protocol):
    """The shape of a command's module; ``args.command`` is the name it was called by."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare flags and examples; without I/O."""
        ...

    # A module may have, beyond this, ``GO_FLAGS``, true where the command line is read as Go reads
    # one, as flanneld's users expect; and then ``add_chosen_arguments(parser, words)``: flags that
    # depend on what else the command line says.

    def run(self, args: argparse.Namespace) -> int:
        """Do it and give the exit code; FlannelError becomes one sentence and code 1."""
        ...


COMMANDS = {
    "daemon": Command("flannel_sdk.cli.daemon", "run the agent of this node"),
    "status": Command(
        "flannel_sdk.cli.status", "what the running daemon does: lease, peers, kernel"
    ),
    "peers": Command("flannel_sdk.cli.status", "the peers that the running daemon knows"),
    "plan": Command("flannel_sdk.cli.status", "what would change in the kernel; changes nothing"),
    "doctor": Command("flannel_sdk.cli.doctor", "find the layer that is broken, and what to do"),
    "config": Command(
        "flannel_sdk.cli.config", "show or put the network's configuration in a store"
    ),
    "explain": Command(
        "flannel_sdk.cli.explain", "why the daemon would take an underlay interface, or none"
    ),
    "plugins": Command(
        "flannel_sdk.cli.plugins", "installed backends and stores, and what ails them"
    ),
    "conformance": Command(
        "flannel_sdk.cli.conformance", "judge a backend or a store: what of its contract it holds"
    ),
    "cleanup": Command(
        "flannel_sdk.cli.cleanup", "remove the firewall rules that daemons left on this host"
    ),
    "new-backend": Command(
        "flannel_sdk.cli.new_plugin", "a backend of your own: a distribution to start from"
    ),
    "new-store": Command("flannel_sdk.cli.new_plugin", "a store of your own, the same way"),
    "lab": Command("flannel_sdk.cli.lab", "a cluster of network namespaces on this machine"),
}

EXAMPLES = (
    ("flannel-sdk lab demo --backend vxlan --nodes 3", "three nodes, pinged, broken and repaired"),
    ("flannel-sdk daemon --store sqlite --iface eth0", "this node joins the network"),
    ("flannel-sdk status", "its lease and how the kernel stands"),
    ("flannel-sdk plugins", "which backends and stores are installed"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's) and give its exit code; never exits itself."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except FlannelError as error:
        _fail([error])
        return exit_code(error)
    except BaseExceptionGroup as group:
        known, unknown = group.split(FlannelError)
        if known is None or unknown is not None:
            raise
        return _fail(leaves(known))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python flushes stdout once more at exit; that must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        print(_overview(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in {"-h", "--help", "help"}:
        if rest and name == "help":
            return _run(rest[0], ["--help"])
        print(_overview())
        return 0
    if name in {"-V", "--version"}:
        print(f"{PROGRAM} {__version__}")
        return 0
    return _run(name, rest)


def _run(name: str, rest: list[str]) -> int:
    command = COMMANDS.get(name)
    if command is None:
        print(_unknown(name), file=sys.stderr)
        return 2
    module = cast("CommandModule", importlib.import_module(command.module))
    parser = _Parser(
        prog=f"{PROGRAM} {name}",
        description=command.help[0].upper() + command.help[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    if getattr(module, "GO_FLAGS", False):
        from flannel_sdk.cli.go_flags import as_go_reads

        rest = as_go_reads(parser, rest)
        if (add_chosen := getattr(module, "add_chosen_arguments", None)) is not None:
            add_chosen(parser, rest)
            rest = as_go_reads(parser, rest)
    parser.set_defaults(command=name)
    try:
        args, unknown = parser.parse_known_args(rest)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    if unknown:
        print(f"{PROGRAM} {name}: {_unwanted(unknown, args)}", file=sys.stderr)
        return 2
    return module.run(args)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in a line, without a page of usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def _unwanted(words: Sequence[str], args: argparse.Namespace) -> str:
    """Names the flags and no value: it may be a password, given to a store that takes none."""
    flags = [word.partition("=")[0] for word in words if word.startswith("-") and word != "--"]
    if not flags:
        hint = "; a flag of yes or no takes its value with a =" if hasattr(args, "store") else ""
        return f"there are more arguments than it takes, {len(words)} in all{hint}; see --help"
    store = getattr(args, "store", None)
    hint = ""
    if hasattr(args, "installed_store"):
        hint = f" (the store is {store}; another one's flags need its --store)"
    elif store is not None:
        hint = " (a store's options are given as --store-option KEY=VALUE here)"
    return f"no such option: {', '.join(flags)}{hint}; see --help"


def _unknown(name: str) -> str:
    import difflib

    kind = "option" if name.startswith("-") else "command"
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"try {PROGRAM} --help"
    return f"{PROGRAM}: no such {kind}: {name}; {hint}"


def _overview() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}} {command.help}" for name, command in COMMANDS.items())
    examples = "\n".join(f"  {line}\n      {text}" for line, text in EXAMPLES)
    return f"""usage: {PROGRAM} COMMAND [OPTION ...]
       {PROGRAM} COMMAND --help
       {PROGRAM} --version

The agent and tools of flannel_sdk: container overlay networks, compatible with flannel.

commands:
{commands}

examples:
{examples}"""


def _fail(errors: Sequence[BaseException]) -> int:
    for error in errors:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
    return 1
