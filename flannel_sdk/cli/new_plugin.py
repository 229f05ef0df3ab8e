"""``flannel-sdk new-backend`` and ``new-store``: a complete distribution to start from."""

import argparse
import importlib.resources
import keyword
import re
from pathlib import Path
from string import Template

from flannel_sdk import __version__
from flannel_sdk.errors import ConfigError, PermanentError
from flannel_sdk.interfaces import CONTRACT_VERSION

_COMMON = {
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "test.yml",
    "src/$package/py.typed": "py.typed",
}
_FILES = {
    "new-backend": {
        "pyproject.toml": "backend-pyproject.toml",
        "README.md": "backend-README.md",
        "src/$package/__init__.py": "backend-init.py",
        "src/$package/backend.py": "backend-backend.py",
        "tests/test_conformance.py": "backend-test_conformance.py",
        **_COMMON,
    },
    "new-store": {
        "pyproject.toml": "store-pyproject.toml",
        "README.md": "store-README.md",
        "src/$package/__init__.py": "store-init.py",
        "src/$package/manager.py": "store-manager.py",
        "src/$package/table.py": "store-table.py",
        "tests/test_conformance.py": "store-test_conformance.py",
        **_COMMON,
    },
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the name and the folder."""
    parser.add_argument("name", metavar="NAME", help="lower-case letters, digits and hyphens")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new or an empty folder")
    parser.epilog = """\
Writes a distribution that installs, loads and keeps the contract as it comes:

  flannel-sdk new-backend acme ./acme && cd acme
  python3 -m venv .venv && .venv/bin/pip install -e '.[test]'
  .venv/bin/flannel-sdk conformance acme

A new backend routes each peer's subnet by way of its public IP; a new store keeps its leases in a
JSON file that all nodes share. Nothing that exists is overwritten."""


def run(args: argparse.Namespace) -> int:
    """Write the files and say what to do next."""
    kind = args.command.removeprefix("new-")
    values = _values(args.name, kind)
    written = _write(args.folder, _FILES[args.command], values)
    for path in written:
        print(path)
    asked = f"--store {args.name}" if kind == "store" else args.name
    print(
        f"\nThe {kind} {args.name} is in {args.folder}. Go on with:\n"
        f"  cd {args.folder}\n"
        "  python3 -m venv .venv && .venv/bin/pip install -e '.[test]'\n"
        f"  .venv/bin/flannel-sdk conformance {asked}"
    )
    return 0


def _values(name: str, kind: str) -> dict[str, str]:
    """What the templates' names stand for; ConfigError where no package can be named so."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST or keyword.iskeyword(name):
        raise ConfigError(
            "NAME",
            f"{name!r} is no name for a {kind}: take lower-case letters, digits and single hyphens,"
            f" beginning with a letter, {_LONGEST} at most",
        )
    major, minor, *_ = __version__.split(".")
    distribution = f"flannel-{kind}-{name}"
    return {
        "name": name,
        "title": "".join(part.capitalize() for part in name.split("-")),
        "distribution": distribution,
        "package": distribution.replace("-", "_"),
        "core": f"{major}.{minor}",
        "next_core": f"{major}.{int(minor) + 1}",
        "contract": str(CONTRACT_VERSION),
    }


def _write(folder: Path, files: dict[str, str], values: dict[str, str]) -> list[Path]:
    """Write all files below ``folder``; PermanentError, and nothing written, if it is not empty."""
    templates = importlib.resources.files("flannel_sdk.cli") / "templates"
    try:
        if folder.exists() and any(folder.iterdir()):
            raise PermanentError(f"{folder} is not empty: name a folder that is, or a new one")
        written = []
        for target, template in files.items():
            path = folder / Template(target).substitute(values)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = (templates / f"{template}.tmpl").read_text(encoding="utf-8")
            path.write_text(Template(text).substitute(values), encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise PermanentError(
            f"{error.filename or folder} cannot be written: {error.strerror}"
        ) from error
    return written
