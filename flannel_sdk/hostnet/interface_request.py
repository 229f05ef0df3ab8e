"""How the underlay interface is asked for, and what peers are told instead of its addresses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import ByFamily, Family, IPAddress, option_metadata
from flannel_sdk.model.peer_checks import is_node_address

_POSIX_CLASSES = {
    **{"alnum": "0-9A-Za-z", "alpha": "A-Za-z", "digit": "0-9", "lower": "a-z", "upper": "A-Z"},
    **{"word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f"},
}
_POSIX_CLASS = re.compile(rf"\[:({'|'.join(_POSIX_CLASSES)}):\]")


@dataclass(frozen=True, slots=True)
class InterfaceRequest:
    """What the operator asked for, tried in the order of the fields; the first that works wins.

    With nothing asked for it is the interface that has the public IP, else that of the default
    route. Made with ConfigError for what can never work.
    """

    interfaces: Sequence[str] = field(
        default=(),
        metadata=option_metadata(
            "Underlay interface; the first that is there.",
            "NAME|ADDRESS",
            flag="iface",
            repeated=True,
        ),
    )
    """Names, or addresses that an interface has; one text is one of them."""
    regexes: Sequence[str] = field(
        default=(),
        metadata=option_metadata(
            "Underlay interface by a pattern that one of its addresses, else its name, matches.",
            "REGEX",
            flag="iface-regex",
            repeated=True,
        ),
    )
    """Searched for unanchored, in addresses and then in names."""
    can_reach: IPAddress | None = field(
        default=None,
        metadata=option_metadata(
            "Underlay interface by the route to this address.", "ADDRESS", flag="iface-can-reach"
        ),
    )
    public_ip: IPAddress | None = field(
        default=None,
        metadata=option_metadata(
            "IPv4 address that peers are told; need not be one of this host's.",
            "ADDRESS",
            flag="public-ip",
        ),
    )
    public_ipv6: IPAddress | None = field(
        default=None,
        metadata=option_metadata(
            "IPv6 address that peers are told; need not be one of this host's.",
            "ADDRESS",
            flag="public-ipv6",
        ),
    )

    def __post_init__(self) -> None:
        for name in ("interfaces", "regexes"):
            given: Sequence[str] = getattr(self, name)
            texts = (given,) if isinstance(given, str) else given
            object.__setattr__(self, name, tuple(text for text in texts if text))
        for text in self.regexes:
            _check_regex(text)
        _check_public_ip("public-ip", self.public_ip, Family.IPV4)
        _check_public_ip("public-ipv6", self.public_ipv6, Family.IPV6)

    @property
    def names_interface(self) -> bool:
        """Whether any way to find the interface is asked for."""
        return bool(self.interfaces or self.regexes or self.can_reach)

    @property
    def public_ips(self) -> ByFamily[IPAddress]:
        """What peers are told instead of the interface's own addresses."""
        return ByFamily(self.public_ip, self.public_ipv6)


def go_regex(text: str) -> str:
    """A regular expression of Go's for Python: the classes of POSIX spelled out."""
    return _POSIX_CLASS.sub(lambda found: _POSIX_CLASSES[found[1]], text)


def _check_regex(text: str) -> None:
    try:
        re.compile(go_regex(text))
    except re.error as error:
        raise ConfigError(
            "iface-regex", f"iface-regex {text!r} is no regular expression: {error}"
        ) from error


def _check_public_ip(flag: str, given: IPAddress | None, family: Family) -> None:
    if given is None:
        return
    if given.family is not family:
        raise ConfigError(flag, f"{flag} is {str(given)!r}, which is not an {family} address")
    if not is_node_address(given):
        raise ConfigError(
            flag, f"{flag} is {given}, which is no unicast address of a host: peers would refuse it"
        )
