"""Runs the program that measures a store, in a process of its own."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable

_ROUNDS = 5


def run_reader(
    module: str,
    *arguments: str,
    first: Callable[[], None] | None = None,
    then: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Run a reader; ``first`` is called once it has a snapshot, ``then`` once it has a change."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        for step in (first, then):
            if step is not None and reader.stdout.readline():
                step()
        said = reader.stdout.read()
    if reader.returncode:
        raise RuntimeError(f"the reader of {arguments[0]} failed")
    figures: dict[str, float] = json.loads(said.splitlines()[-1])
    return figures


def import_cost(module: str) -> tuple[float, float]:
    """CPU seconds and MiB that opening this store costs a process more than the memory store."""

    def middle(module: str, what: str, name: str) -> float:
        return statistics.median(run_reader(module, what)[name] for _ in range(_ROUNDS))

    core = ("benchmarks.etcd_reader", "import-core")
    run_reader(module, "import")  # compiles what was never compiled
    return (
        middle(module, "import", "cpu") - middle(*core, "cpu"),
        middle(module, "import", "mib") - middle(*core, "mib"),
    )
