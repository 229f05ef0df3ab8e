"""The documentation holds to the code: its blocks are run, its pictures and tables are true."""

import re
from pathlib import Path

import pytest

from docs.hooks.generated_pages import defect_tests, options_page, read_defects
from docs.hooks.pictures import PICTURES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_block_of_code_is_run_by_a_test(page: Path) -> None:
    """A block is a file of the tests' own, or text, or names its test."""
    fenced = r"(?:<!-- test: (\S+) -->\n)?```(\w*)\n(.*?)^```$"
    for test, language, text in re.findall(fenced, page.read_text(), re.DOTALL | re.MULTILINE):
        if language == "text" or text.startswith('--8<-- "'):
            continue
        assert test, f"{page.name}: no test is named for:\n{text}"
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text()


def test_the_pictures_are_as_drawn() -> None:
    for name, draw in PICTURES.items():
        assert (DOCS / "images" / name).read_text() == draw().svg(), "run: make docs"
    assert {file.name for file in (DOCS / "images").iterdir()} == set(PICTURES)


def test_each_defect_of_flannels_has_a_test_or_a_reason_for_none() -> None:
    defects, tests = read_defects(), defect_tests()
    assert list(defects) == [f"D{number}" for number in range(1, 43)]
    without = [name for name, defect in defects.items() if "here" in defect and name not in tests]
    assert without == []


def test_every_option_of_every_store_is_on_the_page() -> None:
    from flannel_sdk.agent.installed_store import find_store

    page = options_page()
    for store in ("sqlite", "memory", "etcd", "kube"):
        for option in find_store(store).options():
            assert f"| `{option.name}` |" in page
    for backend, key in (("vxlan", "VNI"), ("udp", "Datapath"), ("exec", "Command")):
        assert f"| `{key}` |" in page.partition(f"### {backend}\n")[2].partition("\n### ")[0]
    for flag in ("ip-masq", "iface-regex", "healthz-port", "log-format"):
        assert f"`--{flag} " in page
