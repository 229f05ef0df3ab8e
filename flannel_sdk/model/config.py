"""The network configuration: flannel's JSON, its defaults and arithmetic (flannel chapter 2)."""

from dataclasses import dataclass, field
from typing import NamedTuple, Self, TypeVar

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import gojson
from flannel_sdk.model.addresses import ByFamily, Family, IPAddress, Prefix
from flannel_sdk.model.options import BackendOptions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SubnetPool:
    """The subnets of one family that nodes may lease."""

    network: Prefix
    subnet_length: int
    """Prefix length of each lease's subnet, in bits."""
    first: IPAddress
    """Base address of the first subnet (SubnetMin, inclusive)."""
    last: IPAddress
    """Base address of the last subnet (SubnetMax, inclusive)."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A validated network configuration."""

    pools: ByFamily[SubnetPool]
    """One pool for each enabled family; at least one."""
    backend_type: str = "udp"
    """Lower case; as flannel's code: ``udp`` where there is no Backend."""
    backend_options: BackendOptions = field(default_factory=BackendOptions)
    enable_nftables: bool = False

    @classmethod
    def parse(cls, document: str | bytes) -> Self:
        """Read flannel's JSON; ConfigError names the key that is wrong."""
        members = _read_object(document)
        enabled = {
            Family.IPV4: members.boolean("EnableIPv4", True),
            Family.IPV6: members.boolean("EnableIPv6", False),
        }
        if not any(enabled.values()):
            raise _wrong("EnableIPv4", "is false and EnableIPv6 is not true: enable one of them")
        pools: ByFamily[SubnetPool] = ByFamily()
        for family, keys in _KEYS.items():
            # What is written for a disabled family still has to be of the right kind.
            texts = _PoolTexts.read(members, family, keys)
            if enabled[family]:
                pools = pools.with_value(family, texts.pool(family, keys))
        backend_type, options = _backend(members)
        return cls(pools, backend_type, options, members.boolean("EnableNFTables", False))


class _Keys(NamedTuple):
    """How the four keys of one family are spelled, and the arithmetic's limits for it."""

    network: str
    length: str
    minimum: str
    maximum: str
    longest: int
    """The longest SubnetLen."""
    usual: int
    """The SubnetLen where none is given and the network is large enough."""


_KEYS = {
    Family.IPV4: _Keys("Network", "SubnetLen", "SubnetMin", "SubnetMax", 30, 24),
    Family.IPV6: _Keys("IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", 126, 64),
}
_NAMES = {
    gojson.folded(name): name
    for name in (
        "EnableIPv4",
        "EnableIPv6",
        "EnableNFTables",
        "Backend",
        *(name for keys in _KEYS.values() for name in keys[:4]),
    )
}


class _Members(dict[str, object]):
    """The known keys, as flannel spells them, that hold a value other than null."""

    def _typed(self, key: str, kind: type[T], default: T, wish: str) -> T:
        value = self.get(key, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _wrong(key, f"has to be {wish}")
        return value

    def boolean(self, key: str, default: bool) -> bool:
        return self._typed(key, bool, default, "true or false")

    def count(self, key: str) -> int:
        number = self._typed(key, int, 0, "a whole number")
        if number < 0:
            raise _wrong(key, f"is {number} and must not be negative")
        return number

    def text(self, key: str) -> str | None:
        return self._typed(key, str, "", "a string") if key in self else None


class _PoolTexts(NamedTuple):
    """The four values of one family as they were given; None and 0 where they were not."""

    network: Prefix | None
    length: int
    minimum: IPAddress | None
    maximum: IPAddress | None

    @classmethod
    def read(cls, members: _Members, family: Family, keys: _Keys) -> Self:
        return cls(
            _read_network(members, family, keys.network),
            members.count(keys.length),
            _read_address(members, family, keys.minimum),
            _read_address(members, family, keys.maximum),
        )

    def pool(self, family: Family, keys: _Keys) -> SubnetPool:
        if self.network is None:
            raise _wrong(keys.network, f"is missing, and {family} is enabled")
        network = self.network
        length = self._subnet_length(network, keys)
        size = 1 << family.bits - length
        first, last = network.first + size, network.last + 1 - size
        if self.minimum is not None:
            first = _checked_bound(keys.minimum, self.minimum, network, length)
        if self.maximum is not None:
            last = _checked_bound(keys.maximum, self.maximum, network, length)
        if first > last:
            key = keys.minimum if self.minimum is not None else keys.maximum
            raise _wrong(
                key,
                f"leaves no subnet: the first, {IPAddress.from_int(first, family)}, is after "
                f"the last, {IPAddress.from_int(last, family)}",
            )
        return SubnetPool(
            network, length, IPAddress.from_int(first, family), IPAddress.from_int(last, family)
        )

    def _subnet_length(self, network: Prefix, keys: _Keys) -> int:
        if self.length > keys.longest:
            raise _wrong(keys.length, f"is {self.length} and must be at most {keys.longest}")
        if self.length:
            if self.length < network.length + 2:
                raise _wrong(
                    keys.length,
                    f"is {self.length} and must be at least {network.length + 2}, so that "
                    f"{network} holds four subnets",
                )
            return self.length
        if network.length > keys.longest - 2:
            raise _wrong(
                keys.network,
                f"is {network}: too small, its prefix length must be at most {keys.longest - 2}",
            )
        return keys.usual if network.length <= keys.usual - 2 else network.length + 2


def _checked_bound(key: str, address: IPAddress, network: Prefix, length: int) -> int:
    if not network.covers(address):
        raise _wrong(key, f"is {address} and lies outside the network {network}")
    if not Prefix(address, length).is_network:
        raise _wrong(key, f"is {address} and is not the first address of a /{length} subnet")
    return address.to_int()


def _read_network(members: _Members, family: Family, key: str) -> Prefix | None:
    text = members.text(key)
    if text is None:
        return None
    try:
        prefix = Prefix.parse(text)
    except ValueError as error:
        raise _wrong(key, f"is not an {family} network in CIDR notation: {text!r}") from error
    if prefix.family is not family:
        raise _wrong(key, f"has to be an {family} network, not {text!r}")
    # flannel takes 0.0.0.0/0 and ::/0 for "not given".
    return prefix.masked() if prefix.length or any(prefix.address) else None


def _read_address(members: _Members, family: Family, key: str) -> IPAddress | None:
    text = members.text(key)
    if text is None:
        return None
    try:
        address = IPAddress.parse(text)
    except ValueError as error:
        raise _wrong(key, f"is not an {family} address: {text!r}") from error
    if address.family is not family:
        raise _wrong(key, f"has to be an {family} address, not {text!r}")
    # flannel takes the zero address for "not given".
    return address if any(address) else None


def _read_object(document: str | bytes) -> _Members:
    try:
        value = gojson.read(document)
    except ValueError as error:
        raise ConfigError(
            "config", f"The network configuration is not valid JSON: {error}."
        ) from error
    if not isinstance(value, gojson.Members):
        raise ConfigError("config", "The network configuration has to be a JSON object.")
    members = _Members()
    for key, inner in value.pairs:
        name = _NAMES.get(gojson.folded(key))
        # null leaves what an earlier duplicate said; for Backend it is a value of its own.
        if name is not None and (inner is not None or name == "Backend"):
            members[name] = inner
    return members


def _backend(members: _Members) -> tuple[str, BackendOptions]:
    if "Backend" not in members:
        return "udp", BackendOptions()
    backend = members["Backend"]
    if backend is None:
        raise _wrong("Backend", "is null: leave it out, or give it a Type")
    if not isinstance(backend, gojson.Members):
        raise _wrong("Backend", "has to be a JSON object")
    backend_type: object = None
    values: dict[str, object] = {}
    for key, value in backend.pairs:
        name = gojson.folded(key)
        if value is None:
            continue
        if name == "type":
            backend_type = value
            continue
        for earlier in [known for known in values if gojson.folded(known) == name]:
            del values[earlier]
        values[key] = gojson.plain(value)
    if backend_type is not None and not isinstance(backend_type, str):
        raise _wrong("Backend.Type", "has to be a string")
    if not backend_type:
        raise _wrong("Backend.Type", "is missing: name the backend, such as vxlan")
    return backend_type.lower(), BackendOptions(values)


def _wrong(key: str, problem: str) -> ConfigError:
    return ConfigError(key, f"{key} of the network configuration {problem}.")
