"""docs/requirements.md, from the kits: ``python -m docs.hooks.requirements_page`` writes it."""

from collections.abc import Iterator
from pathlib import Path

from flannel_sdk.testing.kit.results import KITS, kit_class

PAGE = Path(__file__).parents[1] / "requirements.md"
_SUBJECTS = {"backend": "backends", "subnet-manager": "stores"}
_LEVELS = {
    "backend": (
        "It loads",
        "Without root, on a kernel in memory",
        "On a real kernel, in a network namespace",
        "Two nodes and the packets between them",
    ),
    "subnet-manager": (
        "It loads",
        "On the store itself",
        "With faults of a real server",
        "Two nodes",
    ),
}
_HEAD = """\
# What a plugin has to hold

Each requirement of the conformance kits has an id that stays, and one test that judges it.
[Prove it](conformance.md) says how to run them. This page is made from the kits themselves.
"""


def requirements_page() -> str:
    """Every requirement of every kit, by level."""
    return "\n".join([_HEAD, *(line for kit in KITS for line in _kit(kit))])


def _kit(name: str) -> Iterator[str]:
    stated = kit_class(name).requirements
    yield f"## Of {_SUBJECTS[name]}"
    yield ""
    for level, title in enumerate(_LEVELS[name]):
        ours = [one for one in stated if one.level == level]
        if ours:
            yield from (
                f"### Level {level}: {title}",
                "",
                "| id | what holds | why |",
                "|---|---|---|",
            )
            yield from (f"| {one.id} | {one.title} | {one.why} |" for one in ours)
            yield ""


def main() -> None:
    """Write it."""
    PAGE.write_text(requirements_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
