"""BackendConformance: everything that a backend has to hold, and what its author may state."""

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import pytest

from flannel_sdk.errors import ConfigError
from flannel_sdk.interfaces import BackendPlugin
from flannel_sdk.model import Family
from flannel_sdk.model.options import parse_backend_option
from flannel_sdk.testing.backend_kit.again import Again
from flannel_sdk.testing.backend_kit.ending import Ending
from flannel_sdk.testing.backend_kit.faults import Faults
from flannel_sdk.testing.backend_kit.kernel_bench import KernelBench, kernel_bench
from flannel_sdk.testing.backend_kit.loading import Loading
from flannel_sdk.testing.backend_kit.memory_bench import MemoryBench, memory_bench
from flannel_sdk.testing.backend_kit.real_kernel import RealKernel
from flannel_sdk.testing.backend_kit.registering import Registering
from flannel_sdk.testing.backend_kit.subject import BackendSubject
from flannel_sdk.testing.backend_kit.two_nodes import TwoNodes
from flannel_sdk.testing.backend_kit.updates import Updates
from flannel_sdk.testing.kit.requirements import Requirement
from flannel_sdk.testing.kit.running import play
from flannel_sdk.testing.patient_time import PatientLoop


class BackendConformance(
    Loading, Registering, Again, Updates, Faults, Ending, RealKernel, TwoNodes, kit="backend"
):
    """The backend kit. Name the backend in a subclass and pytest judges it:

    ::

        class TestMine(BackendConformance):
            backend = "mine"

    Without a name it is the one of ``--flannel-backend``. The fixtures may be overridden in the
    subclass, the tests not.
    """

    backend: ClassVar[str] = ""
    """The name of its entry point."""

    options: ClassVar[Mapping[str, object]] = MappingProxyType({})
    """Its options, as in the ``Backend`` object of a configuration."""

    families: ClassVar[Sequence[tuple[Family, ...]] | None] = None
    """The combinations of families that it serves, the widest last; None: those that it registers
    with."""

    dataplane: ClassVar[bool] = True
    """False: it leases a subnet, and what carries the traffic is somebody else's affair."""

    memory_kernel: ClassVar[bool | None] = None
    """Whether all that it does to the kernel goes through ``toolkit.open_kernel``, so that level 1
    can judge it; None: found by trying."""

    @classmethod
    def subject_name(cls, config: pytest.Config) -> str:
        """The backend's name, and the class that judges it where an author wrote one."""
        named: str = cls.backend or config.getoption("flannel_backend") or "?"
        return f"{named} ({cls.__name__})" if cls.backend else named

    @pytest.fixture
    def backend_plugin(self) -> BackendPlugin | None:
        """The plugin; None: the one installed under ``backend``."""
        return None

    @pytest.fixture
    def backend_options(self, pytestconfig: pytest.Config) -> Mapping[str, object]:
        """Its options; those of the command line go before ``options``."""
        try:
            given = dict(map(parse_backend_option, pytestconfig.getoption("flannel_option")))
        except ConfigError as error:
            raise pytest.UsageError(f"--flannel-option: {error}") from None
        return {**self.options, **given}

    @pytest.fixture
    def subject(
        self,
        backend_plugin: BackendPlugin | None,
        backend_options: Mapping[str, object],
        pytestconfig: pytest.Config,
    ) -> BackendSubject:
        """Who is judged."""
        name = self.backend or pytestconfig.getoption("flannel_backend")
        if not name:
            raise pytest.UsageError(f"{type(self).__name__}.backend names no backend")
        return BackendSubject(
            name,
            backend_plugin,
            backend_options,
            self.families,
            self.dataplane and not pytestconfig.getoption("flannel_no_dataplane"),
            self.memory_kernel,
        )

    @pytest.fixture
    def memory(self, subject: BackendSubject) -> Iterator[MemoryBench]:
        """The bench of level 1."""
        with memory_bench(subject) as bench:
            yield bench

    @pytest.fixture
    def site(self, subject: BackendSubject) -> Iterator[KernelBench]:
        """The bench of levels 2 and 3."""
        with kernel_bench(subject) as bench:
            yield bench

    def play(self, requirement: Requirement, work: Coroutine[object, object, None]) -> None:
        """Level 1 has a clock that waits for nobody."""
        if requirement.level == 1:
            play(work, PatientLoop)
        else:
            play(work)
