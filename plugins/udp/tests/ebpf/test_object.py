"""The compiled programs in the package are what their source compiles to."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flannel_sdk_udp.ebpf.elf import read_object

PLUGIN = Path(__file__).parents[2]
OBJECT = PLUGIN / "src/flannel_sdk_udp/ebpf/tunnel.o"


def test_the_object_is_what_the_source_compiles_to(tmp_path: Path) -> None:
    if shutil.which(os.environ.get("CLANG", "clang-14")) is None:
        if os.environ.get("CLANG_REQUIRED"):
            pytest.fail("there is no clang-14, which CI has to have")
        pytest.skip("there is no clang-14: install Debian 12's package of that name")
    made = tmp_path / "tunnel.o"
    subprocess.run([PLUGIN / "bpf/compile.sh", made], check=True, timeout=60)
    assert read_object(made.read_bytes()) == read_object(OBJECT.read_bytes())


def test_the_object_holds_two_programs_and_their_maps() -> None:
    found = read_object(OBJECT.read_bytes())
    assert set(found.programs) == {"to_peers", "from_peers"}
    assert set(found.maps) == {"settings", "subnets", "peers", "counters"}
    assert found.license == b"GPL"
    for program in found.programs.values():
        assert {name for _, name in program.maps} <= set(found.maps)


def test_another_kind_of_program_is_refused() -> None:
    with pytest.raises(ValueError, match="ELF"):
        read_object(Path(sys.executable).read_bytes())
