"""The secret options of a lab's store: each in a file that only its owner reads."""

import os
from collections.abc import Mapping
from pathlib import Path


def write_secrets(directory: Path, options: Mapping[str, str]) -> None:
    """Keep ``options`` below the lab's ``directory``, each in a file of mode 0600."""
    for key, text in options.items():
        path = secret_file(directory, key)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def secret_file(directory: Path, key: str) -> Path:
    """Where the option ``key`` is, if it is secret; its daemons are given this path."""
    return directory / "secrets" / key


def read_secrets(directory: Path) -> Mapping[str, str]:
    """The options that were written below ``directory``, none if that is not there."""
    found = (directory / "secrets").glob("*")
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(found)}
