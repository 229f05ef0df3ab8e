"""InstalledBackends: one instance a type, however many ask at once, and failures are not kept."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flannel_sdk.engine.backend_manager import InstalledBackends
from flannel_sdk.errors import ConfigError, PluginError
from flannel_sdk.interfaces import BackendContext, BackendManager
from flannel_sdk.model import ByFamily, ExternalInterface, IPAddress
from tests.plugin_distributions import GOOD_BACKEND, install

MAKE = 'return ("backend for", context)'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder at the front of sys.path; what was imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def backends() -> InstalledBackends:
    addresses = ByFamily(IPAddress(bytes([192, 0, 2, 1])))
    interface = ExternalInterface("eth0", 2, 1500, addresses, addresses)
    return InstalledBackends(BackendContext(interface, netns=None))


async def test_it_is_a_backend_manager(site: Path, backends: InstalledBackends) -> None:
    install(site, "acme-wire", {"Wire": "plugin"})
    manager: BackendManager = backends
    assert "wire" in manager.available()
    assert await manager.get_backend("WIRE") is await manager.get_backend("wire")


async def test_concurrent_calls_make_one_backend(site: Path, backends: InstalledBackends) -> None:
    source = "made = []" + GOOD_BACKEND.replace(MAKE, "made.append(context); return object()")
    module = install(site, "acme-wire", {"wire": "plugin"}, source=source)
    found = await asyncio.gather(*(backends.get_backend("wire") for _ in range(20)))
    assert len({id(backend) for backend in found}) == 1
    assert len(sys.modules[module].made) == 1


async def test_a_cancelled_call_harms_no_other(site: Path, backends: InstalledBackends) -> None:
    install(site, "acme-wire", {"wire": "plugin"})
    first = asyncio.create_task(backends.get_backend("wire"))
    second = asyncio.create_task(backends.get_backend("wire"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is await backends.get_backend("wire")
    assert first.cancelled()


async def test_a_failure_is_not_kept(site: Path, backends: InstalledBackends) -> None:
    with pytest.raises(PluginError, match="no backend is called 'wire'"):
        await backends.get_backend("wire")
    install(site, "acme-wire", {"wire": "plugin"})
    assert await backends.get_backend("wire") is not None


async def test_what_the_plugin_raises_on_purpose_passes(
    site: Path, backends: InstalledBackends
) -> None:
    raising = "from flannel_sdk.errors import ConfigError; raise ConfigError('mtu', 'too small')"
    install(site, "acme-wire", {"wire": "plugin"}, source=GOOD_BACKEND.replace(MAKE, raising))
    with pytest.raises(ConfigError, match="too small"):
        await backends.get_backend("wire")


@pytest.mark.parametrize(
    ("mistake", "said"), [("1/0", "ZeroDivisionError"), ("raise SystemExit(4)", "SystemExit: 4")]
)
async def test_what_it_raises_by_mistake_is_one_sentence(
    site: Path, backends: InstalledBackends, mistake: str, said: str
) -> None:
    install(site, "acme-wire", {"wire": "plugin"}, source=GOOD_BACKEND.replace(MAKE, mistake))
    with pytest.raises(PluginError, match=f"backend wire could not be made: {said}"):
        await backends.get_backend("wire")
