"""Pages of the site that are made from the code: a hook of mkdocs."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from flannel_sdk.agent import AgentOptions
from flannel_sdk.agent.installed_store import find_store
from flannel_sdk.agent.typed_options import TypedOption, described
from flannel_sdk.cli.log_options import LogOptions
from flannel_sdk.model import IPAddress, Secret

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
_NAMED = re.compile(r"def (test_((?:d\d+_)+)\w+)")
_STORES = ("sqlite", "etcd", "kube", "memory")
_BACKENDS = ("vxlan", "hostgw", "udp", "extension", "exec", "alloc")
_TYPES: dict[object, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "file",
    IPAddress: "address",
    Secret: "secret",
}


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the generated pages."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "options.md", content=options_page()))
    return files


def options_page() -> str:
    """Every option of the daemon and of the installed stores."""
    return "\n".join(
        [
            "# Options",
            "",
            "Made from the options' own declarations. A flag takes one dash or two, and its value",
            "after a blank or after `=`; a flag of yes or no takes its value after `=` only. What",
            "the command line leaves open is taken from the variable. `flannel-sdk daemon --help`",
            "says the same.",
            "",
            "## The daemon",
            "",
            *_table([*described(AgentOptions), *described(LogOptions)], with_names=False),
            *(line for store in _STORES for line in _store(store)),
            "",
            "## Backends",
            "",
            "In the `Backend` object of the network's configuration, beside `Type`.",
            *(line for backend in _BACKENDS for line in _backend(backend)),
            "",
        ]
    )


def _backend(folder: str) -> Iterator[str]:
    """The options as the plugin's own README tells them, which its tests hold to the code."""
    readme = (ROOT / "plugins" / folder / "README.md").read_text("utf-8")
    name, rest = readme.partition("The `")[2].partition("`")[::2]
    options = rest.partition("## Options\n")[2].partition("\n## ")[0]
    yield from ("", f"### {name}", "", options.strip())


def _store(name: str) -> Iterator[str]:
    yield from ("", f"## `--store {name}`", "", "Each is also `--store-option NAME=VALUE`.", "")
    yield from _table(find_store(name).options(), with_names=True)


def _table(options: Iterable[TypedOption], *, with_names: bool) -> Iterator[str]:
    heads = ["name"] * with_names + ["flag", "variable", "kind", "default", "meaning"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for option in options:
        if with_names or option.flag:
            cells = [*([f"`{option.name}`"] if with_names else []), *_cells(option)]
            yield f"| {' | '.join(cells)} |"


def _cells(option: TypedOption) -> Iterator[str]:
    yield f"`--{option.flag} {option.metavar}`" if option.flag else ""
    yield f"`{option.variable}`" if option.variable else ""
    yield _kind(option)
    default = option.default
    if isinstance(default, bool):
        default = str(default).lower()
    elif isinstance(default, float):
        default = f"{default / option.unit:g}"
    yield "" if default in (None, "", ()) else f"`{default}`"
    yield option.help.replace("|", "\\|") + (" Repeatable." if option.repeated else "")


def _kind(option: TypedOption) -> str:
    if get_origin(option.kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(option.kind))
    known = (name for kind, name in _TYPES.items() if option.kind is kind)
    return next(known, "text" if option.repeated else "comma list")


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    """Put the table of defects where a page asks for it."""
    return markdown.replace("<!-- defects -->", defects_table())


def defects_table() -> str:
    """flannel's defects, what is so here, and how many tests show it."""
    rows = ["| | in flannel | here | tests |", "|---|---|---|---|"]
    tests = defect_tests()
    for name, defect in read_defects().items():
        here = defect.get("here") or f"Does not apply: {defect['apart']}."
        shown = ", ".join(f"`{path}`" for path in sorted(tests.get(name, {})))
        rows.append(f"| {name} | {defect['flannel']} | {here} | {shown} |")
    return "\n".join(rows)


def read_defects() -> dict[str, dict[str, str]]:
    """The defects by their numbers, in order."""
    found: dict[str, dict[str, str]] = tomllib.loads((DOCS / "defects.toml").read_text("utf-8"))
    return found


def defect_tests() -> dict[str, dict[str, list[str]]]:
    """The tests that are named after each defect: their files, and the names in them."""
    found: dict[str, dict[str, list[str]]] = {}
    files = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/**/test_*.py")]
    for file in sorted(files):
        for test, numbers in _NAMED.findall(file.read_text("utf-8")):
            for number in re.findall(r"d(\d+)", numbers):
                in_files = found.setdefault(f"D{number}", {})
                in_files.setdefault(str(file.relative_to(ROOT)), []).append(test)
    return found
