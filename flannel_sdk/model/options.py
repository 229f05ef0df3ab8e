"""Typed access to the ``Backend`` object of a network configuration."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from flannel_sdk.errors import ConfigError
from flannel_sdk.model.gojson import folded

DefaultT = TypeVar("DefaultT")


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """The ``Backend`` object without its Type, read through typed getters; keys in any case.

    A key that is absent or ``null`` gives the default. A value of another JSON type, or outside the
    bounds, is a ConfigError whose ``key`` is ``Backend.NAME`` with NAME as the backend spells it.
    """

    values: Mapping[str, object] = field(default_factory=dict)

    def get(self, name: str) -> object:
        """The value in Python's own types; None where it is absent or ``null``."""
        wanted = folded(name)
        found: object = None
        for key, value in self.values.items():
            if value is not None and folded(key) == wanted:
                found = value
        return found

    def integer(
        self,
        name: str,
        default: DefaultT,
        *,
        minimum: int = 0,
        maximum: int = 2**63 - 1,
    ) -> int | DefaultT:
        """An integer from ``minimum`` to ``maximum``, both inclusive."""
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise _refused(name, "has to be a whole number", value)
        if not minimum <= value <= maximum:
            raise _refused(name, f"has to be between {minimum} and {maximum}", value)
        return value

    def boolean(self, name: str, default: DefaultT) -> bool | DefaultT:
        """``true`` or ``false``."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise _refused(name, "has to be true or false", value)
        return value

    def text(self, name: str, default: DefaultT) -> str | DefaultT:
        """A string."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise _refused(name, "has to be a string", value)
        return value


def _refused(name: str, wish: str, value: object) -> ConfigError:
    key = f"Backend.{name}"
    # Only numbers and truth values are quoted: an option's text may be a secret.
    shown = f", not {value!r}" if isinstance(value, (int, float)) else ""
    return ConfigError(key, f"{key} of the network configuration {wish}{shown}.")


def parse_backend_option(text: str) -> tuple[str, object]:
    """``KEY=VALUE``; the value is JSON where it reads as such (true, 8472), else a string."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError("backend-option", f"{text!r} is not of the form KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
