"""Reading the compiled programs: as much of ELF as clang writes for BPF without debug data."""

from struct import Struct, iter_unpack, unpack_from
from typing import Final, NamedTuple

_FILE: Final = Struct("<4sBB10xHH4xQQQ4xHHHHHH")
_SECTION: Final = Struct("<IIQQQQIIQQ")
_SYMBOL: Final = Struct("<IBBHQQ")
_RELOCATION: Final = Struct("<QII")
_MACHINE_BPF: Final = 247
_SECTION_RELOCATIONS: Final = 9
_TYPE_GLOBAL_OBJECT: Final = 0x11
_TYPE_GLOBAL_FUNCTION: Final = 0x12
_RELOCATE_64: Final = 1


class MapShape(NamedTuple):
    """``struct map`` of kernel.h."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


class Program(NamedTuple):
    """One program before maps are put in."""

    code: bytes
    maps: tuple[tuple[int, str], ...]
    """Offsets of instructions that load the address of a map, with its name."""


class Compiled(NamedTuple):
    """What an object file holds."""

    maps: dict[str, MapShape]
    programs: dict[str, Program]
    license: bytes


class _Section(NamedTuple):
    name: str
    kind: int
    content: bytes
    target: int
    """Of relocations: the section they are for."""


class _Symbol(NamedTuple):
    name: str
    type: int
    section: int
    value: int


def read_object(data: bytes) -> Compiled:
    """Sections ``maps``, ``license`` and ``tc/...``; ValueError for any other kind of file."""
    header = _FILE.unpack_from(data)
    if header[:3] != (b"\x7fELF", 2, 1) or header[4] != _MACHINE_BPF:
        raise ValueError("no little-endian ELF object for BPF")
    sections = _sections(data, start=header[7], count=header[12], names=header[13])
    symbols = _symbols(sections)
    shapes = {
        symbol.name: MapShape(*unpack_from("<5I", sections[symbol.section].content, symbol.value))
        for symbol in symbols
        if symbol.type == _TYPE_GLOBAL_OBJECT and sections[symbol.section].name == "maps"
    }
    programs = {
        symbol.name: Program(
            sections[symbol.section].content, tuple(_references(sections, symbols, symbol.section))
        )
        for symbol in symbols
        if symbol.type == _TYPE_GLOBAL_FUNCTION
    }
    terms = next(section.content for section in sections if section.name == "license")
    return Compiled(shapes, programs, terms.rstrip(b"\0"))


def _sections(data: bytes, start: int, count: int, names: int) -> list[_Section]:
    rows = [_SECTION.unpack_from(data, start + number * _SECTION.size) for number in range(count)]
    strings = data[rows[names][4] :]
    return [
        _Section(_text(strings, row[0]), row[1], data[row[4] : row[4] + row[5]], row[7])
        for row in rows
    ]


def _symbols(sections: list[_Section]) -> list[_Symbol]:
    strings = next(section.content for section in sections if section.name == ".strtab")
    table = next(section.content for section in sections if section.name == ".symtab")
    return [
        _Symbol(_text(strings, name), kind, section, value)
        for name, kind, _, section, value, _ in iter_unpack(_SYMBOL.format, table)
    ]


def _references(
    sections: list[_Section], symbols: list[_Symbol], target: int
) -> list[tuple[int, str]]:
    found = []
    for section in sections:
        if section.kind == _SECTION_RELOCATIONS and section.target == target:
            for offset, kind, symbol in iter_unpack(_RELOCATION.format, section.content):
                if kind != _RELOCATE_64:
                    raise ValueError(f"a relocation of kind {kind} in {section.name}")
                found.append((offset, symbols[symbol].name))
    return found


def _text(strings: bytes, offset: int) -> str:
    return strings[offset : strings.index(b"\0", offset)].decode()
