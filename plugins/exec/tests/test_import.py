"""Looking at the plugin costs next to nothing: what it works with is imported when it is used."""

import subprocess
import sys

CODE = """
import sys
import flannel_sdk_exec
assert flannel_sdk_exec.plugin.contract_version == 1
heavy = {"pyroute2", "stevedore", "asyncio", "flannel_sdk.dataplane", "flannel_sdk.toolkit"}
print(sorted(heavy & sys.modules.keys()))
"""


def test_importing_the_plugin_imports_nothing_costly() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.strip() == "[]"
