"""Finds and loads the installed plugins; the only place that knows stevedore.

Names are listed and counted with importlib.metadata, the chosen one is loaded with stevedore, and
whatever goes wrong becomes one sentence (why not stevedore alone: docs/decisions/0003).
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, cast

from flannel_sdk.errors import PluginError
from flannel_sdk.interfaces import (
    CONTRACT_VERSION,
    BackendPlugin,
    SubnetManagerPlugin,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_log = logging.getLogger(__name__)

BACKENDS = "flannel_sdk.backends"
"""Entry-point group of the backends; an entry names an ``interfaces.BackendPlugin``."""

STORES = "flannel_sdk.subnet_managers"
"""Entry-point group of the stores; an entry names an ``interfaces.SubnetManagerPlugin``."""

GROUPS = (BACKENDS, STORES)

_KIND = {BACKENDS: "backend", STORES: "store"}
_SHAPE: Mapping[str, type] = {BACKENDS: BackendPlugin, STORES: SubnetManagerPlugin}
_MEMBERS: Mapping[str, Sequence[tuple[str, Callable[[object], bool]]]] = {
    BACKENDS: [("create", callable)],
    STORES: [("options_type", is_dataclass), ("open", callable)],
}
_FLANNELS_DEFAULT = "udp"
_OUR_DISTRIBUTIONS = {
    BACKENDS: {
        "vxlan": "flannel-sdk-vxlan",
        "host-gw": "flannel-sdk-hostgw",
        "alloc": "flannel-sdk-alloc",
        "extension": "flannel-sdk-extension",
        "exec": "flannel-sdk-exec",
        "udp": "flannel-sdk-udp",
    },
    STORES: {"etcd": "flannel-sdk-etcd", "etcd3": "flannel-sdk-etcd"},
}


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One installed plugin as an operator wants to see it."""

    name: str
    group: str
    distribution: str
    version: str
    contract_version: int | None
    """None where the plugin does not tell, mostly because it cannot be loaded."""
    problem: str | None
    """Why it cannot be used, one sentence; None if it can."""


def plugin_names(group: str) -> list[str]:
    """Names of the plugins installed in ``group``, sorted; nothing is imported."""
    return sorted(_claims(group))


def list_plugins(group: str) -> list[PluginInfo]:
    """All plugins of ``group`` by name, each imported to see whether it can be used.

    A name that several distributions claim is listed once for each of them.
    """
    return [
        _inspect(group, name, entry_points, entry_point)
        for name, entry_points in sorted(_claims(group).items())
        for entry_point in entry_points
    ]


def load_plugin(group: str, name: str) -> object:
    """The plugin of either group, checked; PluginError as ``load_backend_plugin``."""
    return _load(group, name.lower())


def load_backend_plugin(name: str) -> BackendPlugin:
    """The backend plugin of this name (case-insensitive), checked.

    PluginError, one sentence, if it is unknown, claimed twice, cannot be imported, was made for
    another contract version or lacks what the contract asks for.
    """
    return cast("BackendPlugin", _load(BACKENDS, name.lower()))


def load_store_plugin(name: str) -> SubnetManagerPlugin[object]:
    """The store plugin of this name, checked; ``open`` takes an instance of its options_type.

    PluginError on the same conditions as ``load_backend_plugin``.
    """
    return cast("SubnetManagerPlugin[object]", _load(STORES, name.lower()))


def in_one_line(error: BaseException) -> str:
    """What a plugin raised by mistake, for the end of a sentence."""
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")


def _load(group: str, name: str) -> object:
    claims = _claims(group)
    if name not in claims:
        raise PluginError(_unknown(group, name, sorted(claims)))
    return _checked(group, _imported(group, name, claims[name]), claims[name][0])


def _claims(group: str) -> dict[str, list["EntryPoint"]]:
    """Entry points by lower-cased name; several for one name are different claims to it.

    A distribution seen twice on sys.path (an editable install and its egg-info) counts once, as
    the import system sees it: the first wins.
    """
    from importlib.metadata import distributions

    claims: dict[str, list[EntryPoint]] = {}
    seen: set[str] = set()
    for distribution in distributions():
        try:
            found = distribution.entry_points.select(group=group)
        except Exception:  # a stranger's unreadable entry_points.txt must not hide the others
            _log.warning("the entry points of %s cannot be read", distribution.name)
            continue
        if not found or (owner := _normalised(distribution.name)) in seen:
            continue
        seen.add(owner)
        for entry_point in found:
            claims.setdefault(entry_point.name.lower(), []).append(entry_point)
    return claims


def _normalised(distribution: str | None) -> str:
    return re.sub(r"[-_.]+", "-", distribution or "unknown").lower()


def _distribution(entry_point: "EntryPoint") -> tuple[str, str]:
    found = entry_point.dist
    return ("unknown", "0") if found is None else (found.name or "unknown", found.version or "0")


def _imported(group: str, name: str, claims: Sequence["EntryPoint"]) -> object:
    from stevedore import DriverManager

    if len(claims) > 1:
        raise PluginError(_claimed_twice(group, name, claims))

    class Chosen(DriverManager[object]):
        """Looks at the entry point found above only; stevedore's disk cache may lag by minutes."""

        def list_entry_points(self) -> list["EntryPoint"]:
            return list(claims)

    try:
        return Chosen(group, claims[0].name, on_load_failure_callback=_reraise).driver
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{_KIND[group]} {name} ({_owner(claims[0])}) cannot be imported: {in_one_line(error)}"
        ) from error


def _reraise(manager: object, entry_point: "EntryPoint", error: BaseException) -> None:
    raise error


def _checked(group: str, plugin: object, entry_point: "EntryPoint") -> object:
    subject = f"{_KIND[group]} {entry_point.name.lower()} ({_owner(entry_point)})"
    if isinstance(plugin, type):
        raise PluginError(f"{subject} is the class {plugin.__name__}; it must be an object of it")
    version = _contract_version(plugin)
    if version is None:
        raise PluginError(f"{subject} has no contract_version that is a number")
    if version != CONTRACT_VERSION:
        older = version < CONTRACT_VERSION
        upgrade = _distribution(entry_point)[0] if older else "flannel-sdk"
        raise PluginError(
            f"{subject} was made for contract version {version} and flannel-sdk has version"
            f" {CONTRACT_VERSION}: upgrade {upgrade}"
        )
    missing = [name for name, fits in _MEMBERS[group] if not fits(_member(plugin, name))]
    if missing or not isinstance(plugin, _SHAPE[group]):
        lacks = " and ".join(missing) or "all that its contract names"
        raise PluginError(f"{subject} lacks {lacks}; see flannel_sdk.interfaces")
    return plugin


def _member(plugin: object, name: str) -> object:
    """The attribute, or None: a property of a broken plugin may raise anything."""
    try:
        value: object = getattr(plugin, name, None)
    except Exception:
        return None
    return value


def _contract_version(plugin: object) -> int | None:
    version = _member(plugin, "contract_version")
    return version if type(version) is int else None


def _inspect(
    group: str, name: str, claims: Sequence["EntryPoint"], entry_point: "EntryPoint"
) -> PluginInfo:
    contract_version, problem = None, None
    try:
        plugin = _imported(group, name, claims)
        contract_version = _contract_version(plugin)
        _checked(group, plugin, entry_point)
    except PluginError as error:
        problem = str(error)
    return PluginInfo(name, group, *_distribution(entry_point), contract_version, problem)


def _unknown(group: str, name: str, installed: list[str]) -> str:
    import difflib

    kind = _KIND[group]
    ours = _OUR_DISTRIBUTIONS[group]
    if name in ours:
        is_default = group == BACKENDS and name == _FLANNELS_DEFAULT
        why = " (flannel's, where a configuration names no Backend)" if is_default else ""
        return f"{kind} {name}{why} is not installed: pip install {ours[name]}"
    listed = f"installed: {', '.join(installed)}" if installed else f"no {kind} is installed"
    close = difflib.get_close_matches(name, [*installed, *ours], n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"no {kind} is called {name!r} ({listed}){hint}"


def _claimed_twice(group: str, name: str, claims: Sequence["EntryPoint"]) -> str:
    owners = " and ".join(_owner(claim) for claim in claims)
    return f"{_KIND[group]} {name} is claimed by {owners}: uninstall all but one"


def _owner(entry_point: "EntryPoint") -> str:
    name, version = _distribution(entry_point)
    return f"{name} {version}"
