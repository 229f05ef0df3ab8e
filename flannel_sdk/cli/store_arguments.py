"""The flags that name a store and its options, the same for every command."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import wrap

from flannel_sdk.agent.installed_store import InstalledStore, find_store
from flannel_sdk.agent.typed_options import TypedOption, flag_variable, truth
from flannel_sdk.cli.option_arguments import declare, option_help
from flannel_sdk.cli.store_environment import environment_values, naming_variables
from flannel_sdk.cli.wrong_usage import as_wrong_usage
from flannel_sdk.errors import ConfigError, FlannelError, PluginError
from flannel_sdk.interfaces import SubnetManager

DEFAULT_STORE = "etcd"
"""flanneld's, so that its command lines mean the same."""
KUBE_STORE = "kube"
_KUBE_FLAG = "kube-subnet-mgr"
NO_ENVIRONMENT: Mapping[str, str] = {}
_DESTINATION = "store_flag_"
"""Begins the attributes that hold what the flags of one store were given."""
_UNUSED = "unused_flag_"
"""Begins those of flags that flanneld takes whichever its store is."""
_FLANNELDS_FLAGS = {
    DEFAULT_STORE: (
        *("etcd-endpoints", "etcd-prefix", "etcd-keyfile", "etcd-certfile", "etcd-cafile"),
        *("etcd-username", "etcd-password"),
    ),
    KUBE_STORE: (
        *("kube-api-url", "kubeconfig-file", "kube-annotation-prefix", "net-config-path"),
        "set-node-network-unavailable",
    ),
}


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--store``, its options and flanneld's flag that chooses one."""
    parser.add_argument(
        "--store",
        metavar="NAME",
        help="where the network's configuration and leases are (default: flanneld's, which is"
        f" {DEFAULT_STORE}); with --help it shows that store's own options",
    )
    parser.add_argument(
        "--store-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the store, repeatable; sqlite takes path=FILE",
    )
    parser.add_argument(
        f"--{_KUBE_FLAG}",
        nargs="?",
        const="true",
        metavar="BOOL",
        help=f"flanneld's way to say --store {KUBE_STORE}",
    )
    add_store_option_file(parser)


def add_store_option_file(parser: argparse.ArgumentParser) -> None:
    """Declare ``--store-option-file``."""
    parser.add_argument(
        "--store-option-file",
        action="append",
        default=[],
        metavar="KEY=FILE",
        help="an option of the store whose value is in a file, repeatable: for passwords, since"
        " anybody may see the command line",
    )


def add_chosen_store_arguments(
    parser: argparse.ArgumentParser,
    words: Sequence[str],
    environ: Mapping[str, str] = NO_ENVIRONMENT,
) -> None:
    """Declare the flags of the store that ``words`` name, else ``environ``; no other is loaded.

    PluginError where it cannot be, and ConfigError for a contradiction, unless help is asked for,
    which has to work then too.
    """
    try:
        with as_wrong_usage():
            name = _chosen(words, environ)
        store = _found(name, by_default=name == DEFAULT_STORE and not _last(words, "store"))
        options = store.options()
    except FlannelError:
        if {"-h", "--help"}.isdisjoint(words):
            raise
        return
    parser.set_defaults(installed_store=store, store=name)
    group = parser.add_argument_group(f"options of the store {name}", _described(options))
    for option in options:
        if option.flag is not None:
            try:
                declare(group, option, _DESTINATION + option.name)
            except argparse.ArgumentError as error:
                raise PluginError(
                    f"store {name} wants a flag that is taken: --{option.flag}"
                ) from error
    if _last(words, "store") is None:
        _declare_unused(parser, name)


def unused_flags(args: argparse.Namespace) -> list[str]:
    """The flags given that flanneld takes and the chosen store has no use for."""
    return [
        "--" + name.removeprefix(_UNUSED).replace("_", "-")
        for name, given in vars(args).items()
        if name.startswith(_UNUSED) and given
    ]


def exposed_secrets(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Secrets that the command line holds itself: the option, and how to give it instead."""
    store: InstalledStore = args.installed_store
    given = {key.replace("-", "_") for key in store_values(args.store_option)}
    exposed = []
    for option in store.options():
        typed = getattr(args, _DESTINATION + option.name, None) is not None
        if option.is_secret and (typed or not option.names.isdisjoint(given)):
            variable = f"as ${option.variable} or " if option.variable else ""
            instead = f"give it {variable}with --store-option-file {option.name}=FILE"
            exposed.append((f"--{option.flag}" if typed else option.name, instead))
    return exposed


def _declare_unused(parser: argparse.ArgumentParser, chosen: str) -> None:
    for store, flags in _FLANNELDS_FLAGS.items():
        for flag in flags if store != chosen else ():
            parser.add_argument(
                f"--{flag}",
                action="append",
                dest=_UNUSED + flag.replace("-", "_"),
                nargs="?" if flag.startswith("set-") else None,
                const="true" if flag.startswith("set-") else None,
                help=argparse.SUPPRESS,
            )


def open_chosen_store(
    args: argparse.Namespace, environ: Mapping[str, str] = NO_ENVIRONMENT
) -> SubnetManager:
    """The store that the flags describe, opened.

    A flag goes before a ``--store-option``, and either before a variable of ``environ``.
    """
    with as_wrong_usage():
        values = given_values(args)
        for name, texts in vars(args).items():
            if name.startswith(_DESTINATION) and texts is not None:
                _put_last(values, name.removeprefix(_DESTINATION), texts[-1])
        store: InstalledStore = args.installed_store
        told = environment_values(store.options(), values, environ)
        values.update((name, value.text) for name, value in told.items())
        with naming_variables(told):
            return store.open(values)


def given_values(args: argparse.Namespace) -> dict[str, str]:
    """What ``--store-option`` gives, then what is in the files of ``--store-option-file``.

    ConfigError where one has no =, or a file cannot be read.
    """
    values = dict(store_values(args.store_option))
    for key, path in store_values(args.store_option_file, "store-option-file").items():
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(
                "store-option-file", f"the file of {key}, {path}, cannot be read: {reason}"
            ) from error
        _put_last(values, key, text.removesuffix("\n").removesuffix("\r"))
    return values


def _put_last(values: dict[str, str], key: str, text: str) -> None:
    """An option may have several names, and the last of them counts."""
    values.pop(key, None)
    values[key] = text


def store_values(pairs: Sequence[str], flag: str = "store-option") -> Mapping[str, str]:
    """The ``KEY=VALUE`` texts as a mapping; the last of equal keys wins. ConfigError without =."""
    values: dict[str, str] = {}
    for number, pair in enumerate(pairs, start=1):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            # Not shown: it may be a password whose key was forgotten.
            which = f" (number {number} is not)" if len(pairs) > 1 else ""
            kind = "FILE" if flag == "store-option-file" else "VALUE"
            raise ConfigError(flag, f"each --{flag} has to be KEY={kind}{which}")
        _put_last(values, key, value)
    return values


def _chosen(words: Sequence[str], environ: Mapping[str, str]) -> str:
    """The store's name as the command line says it, else the environment, else the default.

    ConfigError where they want a store and another one; a wrong use of a flag is argparse's to
    tell.
    """
    store, kube = _last(words, "store"), _last(words, _KUBE_FLAG, "true")
    if kube is not None and truth(f"--{_KUBE_FLAG}", kube):
        if store not in {None, KUBE_STORE}:
            raise ConfigError(
                "store", f"--{_KUBE_FLAG} means --store {KUBE_STORE}: --store {store} is another"
            )
        return KUBE_STORE
    variable = flag_variable(_KUBE_FLAG)
    if (text := environ.get(variable)) and store is None and kube is None:
        store = KUBE_STORE if truth(variable, text) else None
    return store or DEFAULT_STORE


def _found(name: str, *, by_default: bool) -> InstalledStore:
    try:
        return find_store(name)
    except PluginError as error:
        if not by_default:
            raise
        raise PluginError(f"{error}, or choose another with --store") from error


def _last(words: Sequence[str], flag: str, bare: str | None = None) -> str | None:
    """What the last ``--flag`` was given; ``bare`` where it was given nothing."""
    value = None
    for word, following in pairwise([*words, "--"]):
        if word == "--":
            break
        if word.startswith(f"--{flag}="):
            value = word.partition("=")[2]
        elif word == f"--{flag}":
            value = following if following and not following.startswith("-") else bare
    return value


def _described(options: Sequence[TypedOption]) -> str:
    """All options as ``--store-option`` takes them, with help where there is no flag to tell it."""
    lines = ["given as --store-option KEY=VALUE, those with a flag also by that:"]
    for option in options:
        name = f"  {option.name}={option.metavar}"
        if option.flag is not None:
            lines.append(f"{name}  (--{option.flag})")
        else:
            variable = f"  (${option.variable})" if option.variable else ""
            lines += [f"{name}{variable}", *_indented(option_help(option))]
    return "\n".join(lines)


def _indented(text: str) -> Iterator[str]:
    return (f"      {line}" for line in wrap(text, 90))
