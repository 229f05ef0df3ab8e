"""Level 0: the plugin loads, speaks this contract, and opens a manager."""

import inspect
from dataclasses import MISSING, fields, is_dataclass

from flannel_sdk.errors import ConfigError, FlannelError, PluginError
from flannel_sdk.interfaces import CONTRACT_VERSION, SubnetManagerPlugin
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.side_effects import side_effects
from flannel_sdk.testing.kit.verdicts import Broken, held, leave_out
from flannel_sdk.testing.store_kit.subject import StoreSubject

_METHODS = {
    "get_network_config": (),
    "acquire_lease": ("attrs",),
    "renew_lease": ("lease",),
    "watch_lease": ("lease",),
    "watch_leases": (),
    "aclose": (),
}


class Loading(Conformance):
    """What can be said of a plugin without a store."""

    @requirement(
        "S001",
        "The plugin loads and was made for this version of the contract",
        why="An agent refuses a plugin of another version at its start, with the node unserved.",
    )
    def test_loads(self, subject: StoreSubject) -> None:
        """By its entry point, or as it was given."""
        try:
            plugin: object = subject.load()
        except PluginError as error:
            raise Broken(str(error)) from None
        if isinstance(plugin, type) or not isinstance(plugin, SubnetManagerPlugin):
            raise Broken(f"{plugin!r} is no object with contract_version, options_type and open")
        held(
            plugin.contract_version == CONTRACT_VERSION,
            f"contract_version is {plugin.contract_version!r}, not {CONTRACT_VERSION}",
        )

    @requirement(
        "S002",
        "options_type is a frozen dataclass of known kinds, whose fields all have defaults",
        why="Command line, environment and embedders all fill the same class; what they do not know"
        " they leave out.",
    )
    def test_options(self, subject: StoreSubject) -> None:
        """As ``--store-option`` reads them."""
        options = subject.plugin.options_type
        if not is_dataclass(options) or not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # not in typeshed
            raise Broken(f"{options!r} is no frozen dataclass")
        for option in fields(options):
            held(
                option.default is not MISSING or option.default_factory is not MISSING,
                f"the option {option.name} has no default",
            )
        try:
            subject.installed.options()
        except FlannelError as error:
            raise Broken(str(error)) from None

    @requirement(
        "S003",
        "open gives a manager and has no side effect",
        why="Managers are made before it is known whether they are used, and in the event loop's"
        " own process.",
    )
    def test_open(self, subject: StoreSubject) -> None:
        """No socket, process or thread."""
        installed = subject.installed
        options = {k: v for k, v in subject.options.items() if "{" not in v}
        with side_effects() as seen:
            try:
                manager: object = installed.open(options)
            except ConfigError as error:
                leave_out(f"it is not opened without more options: {error}")
            except FlannelError as error:
                raise Broken(str(error)) from None
        held(not seen, f"open did more than to make an object: {', '.join(seen)}")
        held(
            isinstance(getattr(manager, "name", None), str),
            "the manager has no name that people could be told",
        )
        for name, arguments in _METHODS.items():
            method = getattr(manager, name, None)
            held(callable(method), f"the manager has no {name}")
            try:
                inspect.signature(getattr(manager, name)).bind(*arguments)
            except TypeError as error:
                raise Broken(f"{name} does not take ({', '.join(arguments)}): {error}") from None
