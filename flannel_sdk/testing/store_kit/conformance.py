"""SubnetManagerConformance: everything that a store has to hold, and what its author may state."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import pytest

from flannel_sdk.testing.store_kit.bench import StoreSite
from flannel_sdk.testing.store_kit.ending import Ending
from flannel_sdk.testing.store_kit.harness import OpenHarness
from flannel_sdk.testing.store_kit.leasing import Leasing
from flannel_sdk.testing.store_kit.loading import Loading
from flannel_sdk.testing.store_kit.renewing import Renewing
from flannel_sdk.testing.store_kit.subject import AnyStorePlugin, StoreSubject, installed_harness
from flannel_sdk.testing.store_kit.watching import Watching


class SubnetManagerConformance(Loading, Leasing, Renewing, Watching, Ending, kit="subnet-manager"):
    """The store kit. Name the store in a subclass and pytest judges it:

    ::

        class TestMine(SubnetManagerConformance):
            subnet_manager = "mine"
            options = {"file": "{folder}/network.json"}

    Without a name it is the one of ``--flannel-subnet-manager``. A store that needs more than
    options, or can be asked for more, has a harness: override the fixture ``open_harness``.
    """

    subnet_manager: ClassVar[str] = ""
    """The name of its entry point."""

    options: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Its options as text; ``{folder}`` in one is an empty folder, ``{unique}`` a fresh word."""

    without: ClassVar[Mapping[type, str]] = MappingProxyType({})
    """A reason for each ``Can...`` of the harness that makes no sense for this store: what needs it
    does not apply."""

    assigned_by: ClassVar[str] = ""
    """Who says which node has which subnet, where that is not the store: ``Kubernetes``."""

    @classmethod
    def subject_name(cls, config: pytest.Config) -> str:
        """The store's name, and the class that judges it where an author wrote one."""
        named: str = cls.subnet_manager or config.getoption("flannel_subnet_manager") or "?"
        return f"{named} ({cls.__name__})" if cls.subnet_manager else named

    @pytest.fixture
    def store_plugin(self) -> AnyStorePlugin | None:
        """The plugin; None: the one installed under ``subnet_manager``."""
        return None

    @pytest.fixture
    def subject(
        self, store_plugin: AnyStorePlugin | None, pytestconfig: pytest.Config
    ) -> StoreSubject:
        """Who is judged."""
        name = self.subnet_manager or pytestconfig.getoption("flannel_subnet_manager")
        if not name:
            raise pytest.UsageError(f"{type(self).__name__}.subnet_manager names no store")
        given = (text.partition("=") for text in pytestconfig.getoption("flannel_option"))
        options = {key: value for key, _, value in given}
        return StoreSubject(name, store_plugin, {**self.options, **options})

    @pytest.fixture
    def open_harness(self, subject: StoreSubject, tmp_path: Path) -> OpenHarness:
        """Opens a fresh store for each test; see ``flannel_sdk.testing.store_kit.harness``."""
        return installed_harness(subject, tmp_path)

    @pytest.fixture
    def site(self, open_harness: OpenHarness) -> StoreSite:
        """The bench."""
        return StoreSite(open_harness, self.without, self.assigned_by)
