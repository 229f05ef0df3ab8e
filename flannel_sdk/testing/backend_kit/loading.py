"""Level 0: the plugin loads, speaks this contract, and makes a backend."""

import inspect

from flannel_sdk.errors import PluginError
from flannel_sdk.interfaces import CONTRACT_VERSION, BackendContext, BackendPlugin
from flannel_sdk.model import ByFamily, ExternalInterface, IPAddress
from flannel_sdk.testing.backend_kit.subject import BackendSubject
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.side_effects import side_effects
from flannel_sdk.testing.kit.verdicts import Broken, held


class Loading(Conformance):
    """What can be said of a plugin without a kernel."""

    @requirement(
        "B001",
        "The plugin loads and was made for this version of the contract",
        why="An agent refuses a plugin of another version at its start, with the node unserved.",
    )
    def test_loads(self, subject: BackendSubject) -> None:
        """By its entry point, or as it was given."""
        try:
            plugin: object = subject.load()
        except PluginError as error:
            raise Broken(str(error)) from None
        if isinstance(plugin, type) or not isinstance(plugin, BackendPlugin):
            raise Broken(f"{plugin!r} is no object with contract_version and create")
        held(
            plugin.contract_version == CONTRACT_VERSION,
            f"contract_version is {plugin.contract_version!r}, not {CONTRACT_VERSION}",
        )

    @requirement(
        "B002",
        "create gives a backend and has no side effect",
        why="Backends are made before it is known whether they are wanted, and in the event loop's"
        " own process.",
    )
    def test_create(self, subject: BackendSubject) -> None:
        """No socket, process or thread; no namespace is there yet."""
        plugin = subject.plugin
        addresses = ByFamily(IPAddress.parse("192.0.2.1"), IPAddress.parse("2001:db8::1"))
        interface = ExternalInterface("eth0", 2, 1500, addresses, addresses)
        with side_effects() as seen:
            backend = plugin.create(BackendContext(interface, netns="/nonexistent"))
        held(not seen, f"create did more than to make an object: {', '.join(seen)}")
        register = getattr(backend, "register_network", None)
        if not inspect.iscoroutinefunction(register):
            raise Broken(f"{type(backend).__name__}.register_network is no coroutine function")
        try:
            inspect.signature(register).bind(None, None)
        except TypeError as error:
            raise Broken(f"register_network does not take (config, leases): {error}") from None
