"""Flannel's annotations of a Node: their names, what a lease writes into them, and back (5.2)."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Self

from flannel_sdk.errors import ConfigError, MalformedEntry
from flannel_sdk.model import ByFamily, Family, IPAddress, LeaseAttrs, decode_attrs

MANAGED: Final = "true"
"""What ``kube-subnet-manager`` says on a node that holds a lease; anything else is no lease."""

_NO_DATA: Final = "null"
_NO_IPV4: Final = "0.0.0.0"
_MAPPED: Final = b"\0" * 10 + b"\xff\xff"
_NEEDS_DATA: Final = frozenset({"vxlan", "wireguard"})
"""Backends that serve a family only where they publish data for it."""

_LONGEST_VALUE: Final = 64 * 1024
"""Characters; far beyond what any backend publishes."""

_SCALAR: Final = r'(?:"[\w+/=:. -]*"|0|[1-9]\d{0,17})'
# What backends publish, as flannel and we write it: valid JSON without blanks, taken as it is.
_USUAL_DATA: Final = re.compile(
    rf'null|"[\w+/=:. -]*"|\{{"\w+":{_SCALAR}(?:,"\w+":{_SCALAR})*\}}', re.ASCII
)


class AnnotationNames(NamedTuple):
    """The whole names of flannel's annotations below one prefix."""

    managed: str
    backend_type: str
    backend_data: ByFamily[str]
    public_ip: ByFamily[str]
    overwrite: ByFamily[str]
    """An operator's: published instead of the public IP that was found."""
    stored: ByFamily[str]
    """An operator's: used instead of ``--public-ip``."""

    @classmethod
    def of(cls, stem: str) -> Self:
        """``stem``: ``KubeOptions.annotation_stem``."""
        return cls(
            f"{stem}kube-subnet-manager",
            f"{stem}backend-type",
            ByFamily(f"{stem}backend-data", f"{stem}backend-v6-data"),
            ByFamily(f"{stem}public-ip", f"{stem}public-ipv6"),
            ByFamily(f"{stem}public-ip-overwrite", f"{stem}public-ipv6-overwrite"),
            ByFamily(f"{stem}node-public-ip", f"{stem}node-public-ipv6"),
        )


def wanted_annotations(
    names: AnnotationNames, attrs: LeaseAttrs, present: Mapping[str, str]
) -> dict[str, str | None]:
    """What the annotations of a node that publishes ``attrs`` have to be; None: not there.

    As flanneld writes them. Of a family that is not published nothing stays, for peers would
    believe it. ``present`` says what an operator overwrites.
    """
    wanted: dict[str, str | None] = {
        names.managed: MANAGED,
        names.backend_type: attrs.backend_type,
    }
    for family in Family:
        data_name, ip_name = _names_of(names, family)
        wanted[data_name] = wanted[ip_name] = None
        if _is_published(attrs, family):
            public_ip = attrs.public_ips.get(family)
            wanted[data_name] = attrs.backend_data.get(family) or _NO_DATA
            wanted[ip_name] = _overwrite(names, family, present) or str(public_ip or _NO_IPV4)
    return wanted


def differences(
    wanted: Mapping[str, str | None], present: Mapping[str, str]
) -> dict[str, str | None]:
    """What to write, by name, so that the annotations are as wanted; None removes."""
    return {name: value for name, value in sorted(wanted.items()) if present.get(name) != value}


class AttrsReader:
    """Reads what nodes publish for some families, in the form of any flannel version."""

    def __init__(self, names: AnnotationNames, families: Iterable[Family]) -> None:
        self._backend_type = names.backend_type
        self._families = [
            (int(family is Family.IPV6), family, *_names_of(names, family)) for family in families
        ]

    def read(self, annotations: Mapping[str, str]) -> LeaseAttrs:
        """MalformedEntry, which does not repeat the value, if an annotation is something else."""
        public_ips: list[IPAddress | None] = [None, None]
        data: list[str | None] = [None, None]
        for index, family, data_name, ip_name in self._families:
            if text := annotations.get(ip_name):
                public_ips[index] = _read_public_ip(ip_name, text, family)
            if text := annotations.get(data_name):
                data[index] = _read_data(data_name, text)
        if public_ips == [None, None]:
            raise MalformedEntry("It has no annotation with a public IP.")
        backend_type = annotations.get(self._backend_type, "")
        if len(backend_type) > _LONGEST_VALUE:
            raise MalformedEntry(f"Its annotation {self._backend_type} is too long.")
        return LeaseAttrs(ByFamily(*public_ips), backend_type, ByFamily(*data))


def parse_public_ip(text: str, family: Family) -> IPAddress | None:
    """The address; None for the zero address. ValueError if it is none of this family."""
    address = IPAddress.parse(text)
    if family is Family.IPV4 and address.startswith(_MAPPED):
        address = IPAddress(address[12:])
    if address.family is not family:
        raise ValueError(f"{text!r} is no {family} address")
    return address if any(address) else None


def read_stored_public_ips(
    names: AnnotationNames, annotations: Mapping[str, str]
) -> ByFamily[IPAddress]:
    """What an operator wants used instead of ``--public-ip``; ConfigError if it is no address."""
    found: ByFamily[IPAddress] = ByFamily()
    for family, name in names.stored.items_by_family():
        if text := annotations.get(name):
            try:
                found = found.with_value(family, parse_public_ip(text, family))
            except ValueError as error:
                raise ConfigError(
                    name, f"The node's annotation {name} is {_shown(text)} and no {family} address."
                ) from error
    return found


def unusable_overwrites(names: AnnotationNames, present: Mapping[str, str]) -> dict[str, str]:
    """The overwrite annotations that are passed over, being no address, and what they say."""
    return {
        name: _shown(text)
        for family, name in names.overwrite.items_by_family()
        if (text := present.get(name)) and _overwrite(names, family, present) is None
    }


def _names_of(names: AnnotationNames, family: Family) -> tuple[str, str]:
    """Of the data, and of the public IP."""
    index = 0 if family is Family.IPV4 else 1
    data_name, ip_name = names.backend_data[index], names.public_ip[index]
    assert data_name is not None
    assert ip_name is not None
    return data_name, ip_name


def _is_published(attrs: LeaseAttrs, family: Family) -> bool:
    """Whether flanneld writes the pair of this family."""
    has_data = attrs.backend_data.get(family) is not None
    if family is Family.IPV4:
        return has_data or attrs.backend_type != "vxlan"
    return attrs.public_ips.ipv6 is not None and (has_data or attrs.backend_type not in _NEEDS_DATA)


def _overwrite(names: AnnotationNames, family: Family, present: Mapping[str, str]) -> str | None:
    """The text that an operator wants published, if it is an address."""
    text = present.get(names.overwrite.get(family) or "")
    if not text:
        return None
    try:
        return text if parse_public_ip(text, family) else None
    except ValueError:
        return None


def _read_public_ip(name: str, text: str, family: Family) -> IPAddress | None:
    try:
        return parse_public_ip(text, family)
    except ValueError as error:
        raise MalformedEntry(f"Its annotation {name} is no {family} address.") from error


def _read_data(name: str, text: str) -> str | None:
    """One JSON value as compact text; None for ``null``."""
    if len(text) > _LONGEST_VALUE:
        raise MalformedEntry(f"Its annotation {name} is too long.")
    if _USUAL_DATA.fullmatch(text):
        return None if text == _NO_DATA else text
    try:
        json.loads(text)  # one value and no more, so that it stands where it is put below
        document = f'{{"PublicIP":"{_NO_IPV4}","BackendData":{text}}}'.encode()
        return decode_attrs(document).backend_data.ipv4
    except (ValueError, RecursionError, MalformedEntry) as error:
        raise MalformedEntry(f"Its annotation {name} is no JSON.") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
