"""Options as a dataclass describes them: one description for flags, variables and texts."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import IPAddress, Secret

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True, slots=True)
class TypedOption:
    """One option, as a field of a dataclass describes it in its type and metadata."""

    name: str
    """The field's; ``-`` may stand for ``_`` in it."""
    kind: object
    """Its type without None: bool, int, float, str, Path, Secret, IPAddress, a Literal, or a
    sequence of texts."""
    optional: bool
    """Whether it may be None."""
    names: frozenset[str]
    """All that it answers to, with ``_`` for ``-``: its name, its flag and its aliases."""
    flag: str | None
    """The command-line flag for it alone, without dashes; None where there is none."""
    variable: str | None
    """The environment's variable that a daemon takes it from where nothing else says it."""
    help: str
    metavar: str
    default: object
    """None for a secret's, and where there is none."""
    bare: str | None
    """What the flag alone says; None where it needs a value."""
    repeated: bool
    """Whether each use of the flag adds one text; otherwise one text is a comma list."""
    unit: float
    """What a number given as text counts in: 60 for a field of seconds that is told in minutes."""

    @property
    def is_secret(self) -> bool:
        """True where its value must not be shown."""
        return self.kind is Secret


def described(options_type: type) -> Iterator[TypedOption]:
    """The options of a dataclass, those of dataclasses in it among them, in its order."""
    hints = get_type_hints(options_type)
    for option in fields(options_type):
        kind, optional = _plain_kind(hints[option.name])
        if isinstance(kind, type) and is_dataclass(kind):
            yield from described(kind)
        else:
            yield _one(option, kind, optional)


def converted(option: TypedOption, key: str, text: str) -> object:
    """``text`` as a value of the option, which ``key`` named; ConfigError without a secret."""
    kind = option.kind
    value: object = text
    if kind is Secret:
        value = Secret(text)
    elif option.optional and not text and kind in {Path, IPAddress}:
        value = None
    elif kind is Path:
        value = Path(text)
    elif kind is IPAddress:
        value = _address(key, text)
    elif get_origin(kind) is Literal:
        value = _choice(key, text, get_args(kind))
    elif get_origin(kind) is not None:
        parts = (part.strip() for part in text.split(","))
        value = (text,) if option.repeated else tuple(part for part in parts if part)
    elif kind is bool:
        value = truth(key, text)
    elif kind is int:
        value = _number(key, text, kind)
    elif kind is float:
        value = _number(key, text, kind) * option.unit
    return value


def filled(
    options_type: type[OptionsT], tell: Callable[[TypedOption], Iterable[object]]
) -> OptionsT:
    """An ``options_type`` of what ``tell`` gives for each option that has a flag.

    Nothing told leaves the field's default; of several values the last counts, unless the option
    is repeated.
    """
    hints = get_type_hints(options_type)
    values: dict[str, object] = {}
    for field in fields(options_type):  # type: ignore[arg-type]  # it is a dataclass
        kind, optional = _plain_kind(hints[field.name])
        if isinstance(kind, type) and is_dataclass(kind):
            values[field.name] = filled(kind, tell)
        elif "flag" in field.metadata:
            option = _one(field, kind, optional)
            told = list(tell(option))
            if told:
                values[field.name] = _joined(told) if option.repeated else told[-1]
    return options_type(**values)


def flag_variable(flag: str) -> str:
    """The variable that flanneld reads where the flag is not given: ``FLANNELD_ETCD_PREFIX``."""
    return "FLANNELD_" + flag.upper().replace("-", "_")


def truth(key: str, text: str) -> bool:
    """What a flag of flanneld's makes of a text, and yes and no; ConfigError for another text."""
    known = {"true": True, "t": True, "1": True, "yes": True}
    known |= {"false": False, "f": False, "0": False, "no": False}
    try:
        return known[text.lower()]
    except KeyError:
        raise ConfigError(key, f"{key} has to be true or false, not {text!r}") from None


def _one(field: "Field[Any]", kind: object, optional: bool) -> TypedOption:
    told: Mapping[str, Any] = field.metadata
    flag: str | None = told.get("flag")
    aliases: Iterable[str] = told.get("aliases", ())
    names = (field.name, *([flag] if flag else []), *aliases)
    return TypedOption(
        field.name,
        kind,
        optional,
        frozenset(name.replace("-", "_") for name in names),
        flag,
        flag_variable(flag) if flag else told.get("env"),
        str(told.get("help", "")),
        str(told.get("metavar", field.name.upper())),
        None if kind is Secret else told.get("daemon", _default(field)),
        told.get("bare", "true" if kind is bool else None),
        bool(told.get("repeated", False)),
        float(told.get("unit", 1.0)),
    )


def _plain_kind(hint: object) -> tuple[object, bool]:
    """The first of several kinds that is not None, and whether None is one of them."""
    if get_origin(hint) in {Union, UnionType}:
        kinds = get_args(hint)
        return next(kind for kind in kinds if kind is not NoneType), NoneType in kinds
    return hint, False


def _default(field: "Field[Any]") -> object:
    return None if field.default is MISSING else field.default


def _joined(told: list[object]) -> tuple[object, ...]:
    return tuple(text for part in told if isinstance(part, tuple) for text in part)


def _address(key: str, text: str) -> IPAddress:
    try:
        return IPAddress.parse(text)
    except ValueError as error:
        raise ConfigError(key, f"{key} has to be an IP address, not {text!r}") from error


def _choice(key: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ConfigError(key, f"{key} has to be one of {', '.join(choices)}, not {text!r}")
    return text


def _number(key: str, text: str, kind: object) -> int | float:
    """Also in Go's other notations of whole numbers: 0x10, 0b11, 1_000."""
    with suppress(ValueError):
        return int(text, 0)
    try:
        return int(text) if kind is int else float(text)
    except ValueError as error:
        raise ConfigError(key, f"{key} has to be a number, not {text!r}") from error
