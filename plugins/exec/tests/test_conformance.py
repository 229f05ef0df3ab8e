"""exec, with the example program, holds what the backend kit asks for."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from flannel_sdk.testing import BackendConformance

EXAMPLE = Path(__file__).parents[1] / "examples" / "routes.py"


class TestExec(BackendConformance):
    backend = "exec"
    options: ClassVar[Mapping[str, object]] = {
        "Command": [sys.executable, "-I", "-S", str(EXAMPLE)]
    }
    memory_kernel = False
