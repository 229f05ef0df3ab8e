"""One requirement of the backend kit, asked of one backend without pytest in between."""

import inspect
from collections.abc import Mapping

import pytest

from flannel_sdk.interfaces import BackendPlugin
from flannel_sdk.testing import BackendConformance
from flannel_sdk.testing.backend_kit.kernel_bench import kernel_bench
from flannel_sdk.testing.backend_kit.memory_bench import memory_bench
from flannel_sdk.testing.backend_kit.subject import BackendSubject
from flannel_sdk.testing.kit.requirements import requirement_of

assert BackendConformance.kit is not None
TESTS = {
    stated.id: test
    for test in BackendConformance.kit.tests.values()
    if (stated := requirement_of(test)) is not None
}


def verdict(plugin: BackendPlugin, requirement_id: str, *, patience: float = 20.0) -> str | None:
    """What the kit says is wrong; None if the requirement is held."""
    subject = BackendSubject("small", plugin)
    with memory_bench(subject) as memory, kernel_bench(subject, patience=patience) as site:
        benches: Mapping[str, object] = {"subject": subject, "memory": memory, "site": site}
        test = TESTS[requirement_id]
        wanted = [name for name in inspect.signature(test).parameters if name in benches]
        try:
            test(BackendConformance(), *(benches[name] for name in wanted))
        except pytest.fail.Exception as failure:
            return str(failure)
    return None
