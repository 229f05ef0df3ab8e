"""The manifests of deploy/kubernetes, read."""

from pathlib import Path
from typing import cast

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
Document = dict[str, object]


def documents() -> list[Document]:
    """All objects that the kustomization names, in its order."""
    names = cast("list[str]", kustomization()["resources"])
    return [document for name in names for document in read(name)]


def kustomization() -> Document:
    """What kustomize is told."""
    return read("kustomization.yaml")[0]


def read(name: str) -> list[Document]:
    """The objects of one file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def of_kind(kind: str) -> Document:
    """The one object of a kind."""
    (found,) = [document for document in documents() if document["kind"] == kind]
    return found


def part(document: Document, *path: str) -> Document:
    """A mapping inside of an object."""
    for key in path:
        document = cast("Document", document[key])
    return document
