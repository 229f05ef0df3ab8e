"""The kernel's nf_tables by netlink: read tables, and change them in one transaction."""

import errno
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final, NamedTuple, Self

from flannel_sdk.errors import (
    FlannelError,
    KernelRefused,
    KernelUnsupported,
    PrivilegeError,
)
from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.nft_expressions import big, text
from flannel_sdk.hostnet.firewall.rules import NO_RIGHT
from flannel_sdk.netlink import constants as c
from flannel_sdk.netlink.dumps import dump_bodies, one_body
from flannel_sdk.netlink.messages import Answer, attribute, attributes, message
from flannel_sdk.netlink.socket import InterruptedDump, RequestSocket

_NFGENMSG: Final = Struct(">BBH")
"""nfgenmsg: family, version, resource (big end first)."""
_LACKING: Final = {errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT}


class TableFacts(NamedTuple):
    """What the kernel tells of a table."""

    flags: int
    use: int
    """How many chains, sets and other things it has."""


class BaseChain(NamedTuple):
    """A chain that the kernel calls at a hook."""

    family: int
    table: str
    name: str
    kind: str
    """``nat`` or ``filter``; empty for a chain that others jump to."""
    hook: int
    priority: int
    policy: int


class KernelRule(NamedTuple):
    """A rule that is there."""

    chain: str
    handle: int
    expressions: bytes


class Change(NamedTuple):
    """One message of a transaction."""

    kind: int
    family: int
    body: bytes
    flags: int = 0


def new_table(family: int, name: str, comment: str = "") -> Change:
    """Make a table; fine if it is there."""
    body = text(n.NFTA_TABLE_NAME, name)
    if comment:
        words = comment.encode() + b"\0"
        body += attribute(n.NFTA_TABLE_USERDATA, bytes([0, len(words)]) + words)
    return Change(n.NFT_MSG_NEWTABLE, family, body, c.NLM_F_CREATE)


def delete_table(family: int, name: str) -> Change:
    """Remove a table with all that is in it."""
    return Change(n.NFT_MSG_DELTABLE, family, text(n.NFTA_TABLE_NAME, name))


def new_chain(chain: BaseChain) -> Change:
    """Make a base chain."""
    hook = big(n.NFTA_HOOK_HOOKNUM, chain.hook) + big(n.NFTA_HOOK_PRIORITY, chain.priority)
    body = (
        text(n.NFTA_CHAIN_TABLE, chain.table)
        + text(n.NFTA_CHAIN_NAME, chain.name)
        + attribute(n.NFTA_CHAIN_HOOK, hook)
        + big(n.NFTA_CHAIN_POLICY, chain.policy)
        + text(n.NFTA_CHAIN_TYPE, chain.kind)
    )
    return Change(n.NFT_MSG_NEWCHAIN, chain.family, body, c.NLM_F_CREATE)


def delete_chain(family: int, table: str, chain: str) -> Change:
    """Remove a chain that has no rules and to which none jumps."""
    body = text(n.NFTA_CHAIN_TABLE, table) + text(n.NFTA_CHAIN_NAME, chain)
    return Change(n.NFT_MSG_DELCHAIN, family, body)


def append_rule(family: int, table: str, chain: str, expressions: bytes) -> Change:
    """Add a rule at the end of a chain."""
    body = _place(table, chain) + attribute(n.NFTA_RULE_EXPRESSIONS, expressions)
    return Change(n.NFT_MSG_NEWRULE, family, body, c.NLM_F_CREATE | n.NLM_F_APPEND)


def delete_rule(family: int, table: str, chain: str, handle: int) -> Change:
    """Remove one rule."""
    body = _place(table, chain) + attribute(n.NFTA_RULE_HANDLE, handle.to_bytes(8, "big"))
    return Change(n.NFT_MSG_DELRULE, family, body)


def _place(table: str, chain: str) -> bytes:
    return text(n.NFTA_RULE_TABLE, table) + text(n.NFTA_RULE_CHAIN, chain)


class NftSocket:
    """Requests to nf_tables; blocking, for one thread at a time.

    Every method raises PrivilegeError without CAP_NET_ADMIN, KernelUnsupported where the kernel
    lacks nf_tables or a part of it, and KernelRefused for all else.
    """

    def __init__(self) -> None:
        try:
            self._netlink = RequestSocket(n.NETLINK_NETFILTER)
        except OSError as error:
            raise refusal("open nf_tables", error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the descriptor."""
        self._netlink.close()

    @property
    def port(self) -> int:
        """What notifications carry that our own changes cause."""
        return self._netlink.port

    def generation(self) -> int:
        """The number of the rules' state: another after every transaction of anybody's."""
        try:
            body = one_body(self._netlink, n.NFT_MSG_GETGEN, n.NFT_MSG_NEWGEN, _general(0))
        except OSError as error:
            raise refusal("read nf_tables", error) from error
        return int.from_bytes(attributes(body, 4, len(body)).get(n.NFTA_GEN_ID, b""), "big")

    def tables(self) -> list[tuple[int, str]]:
        """Family and name of every table."""
        found = self._dump(n.NFT_MSG_GETTABLE, n.NFT_MSG_NEWTABLE, 0, b"")
        return [(family, _text(given.get(n.NFTA_TABLE_NAME))) for family, given in found]

    def table(self, family: int, name: str) -> TableFacts | None:
        """One table; None where it is not there."""
        body = _general(family, text(n.NFTA_TABLE_NAME, name))
        given = self._one(n.NFT_MSG_GETTABLE, n.NFT_MSG_NEWTABLE, body)
        if given is None:
            return None
        flags, use = (given.get(kind, b"") for kind in (n.NFTA_TABLE_FLAGS, n.NFTA_TABLE_USE))
        return TableFacts(int.from_bytes(flags, "big"), int.from_bytes(use, "big"))

    def chain(self, family: int, table: str, name: str) -> BaseChain | None:
        """One chain; None where it is not there. Others' tables may have thousands."""
        wanted = text(n.NFTA_CHAIN_TABLE, table) + text(n.NFTA_CHAIN_NAME, name)
        given = self._one(n.NFT_MSG_GETCHAIN, n.NFT_MSG_NEWCHAIN, _general(family, wanted))
        if given is None:
            return None
        raw = given.get(n.NFTA_CHAIN_HOOK, b"")
        hook = attributes(raw, 0, len(raw))
        return BaseChain(
            family,
            table,
            name,
            _text(given.get(n.NFTA_CHAIN_TYPE)),
            int.from_bytes(hook.get(n.NFTA_HOOK_HOOKNUM, b""), "big"),
            int.from_bytes(hook.get(n.NFTA_HOOK_PRIORITY, b""), "big", signed=True),
            int.from_bytes(given.get(n.NFTA_CHAIN_POLICY, b""), "big"),
        )

    def rules(self, family: int, table: str, chain: str | None = None) -> list[KernelRule]:
        """The rules of a table in order, or of one of its chains; none where it is not there."""
        only = text(n.NFTA_RULE_TABLE, table)
        if chain is not None:
            only += text(n.NFTA_RULE_CHAIN, chain)
        found = []
        for _, given in self._dump(n.NFT_MSG_GETRULE, n.NFT_MSG_NEWRULE, family, only):
            of_table, of_chain = (
                _text(given.get(n.NFTA_RULE_TABLE)),
                _text(given.get(n.NFTA_RULE_CHAIN)),
            )
            if of_table == table and chain in (None, of_chain):
                handle = int.from_bytes(given.get(n.NFTA_RULE_HANDLE, b""), "big")
                expressions = given.get(n.NFTA_RULE_EXPRESSIONS, b"")
                found.append(KernelRule(of_chain, handle, expressions))
        return found

    def commit(self, changes: Sequence[Change]) -> None:
        """Make all changes at once, or none."""
        first = self._netlink.reserve(len(changes) + 3)
        begin = Change(n.NFNL_MSG_BATCH_BEGIN, 0, b"")
        end = Change(n.NFNL_MSG_BATCH_END, 0, b"")
        batch = b"".join(
            message(
                change.kind,
                c.NLM_F_REQUEST | change.flags,
                first + position,
                _general(change.family, change.body, resource=change in (begin, end)),
            )
            for position, change in enumerate((begin, *changes, end))
        )
        # Its answer comes after those to the batch, of which only failures have one.
        last = first + len(changes) + 2
        question = message(
            n.NFT_MSG_GETGEN, c.NLM_F_REQUEST | c.NLM_F_ACK, last, _general(n.NFPROTO_UNSPEC)
        )
        try:
            refused = self._netlink.send_datagrams([batch, question], last)
        except OSError as error:
            raise refusal("change nf_tables", error) from error
        if refused:
            raise _refused(refused)

    def _one(self, request: int, answer: int, body: bytes) -> dict[int, bytes] | None:
        try:
            found = one_body(self._netlink, request, answer, body)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise refusal("read nf_tables", error) from error
        return attributes(found, 4, len(found))

    def _dump(
        self, request: int, answer: int, family: int, body: bytes
    ) -> Iterable[tuple[int, dict[int, bytes]]]:
        try:
            bodies = dump_bodies(self._netlink, request, answer, _general(family, body))
        except InterruptedDump as error:
            raise KernelRefused("the firewall rules change faster than they can be read", 0) from (
                error
            )
        except OSError as error:
            if error.errno == errno.ENOENT:
                return []
            raise refusal("read nf_tables", error) from error
        return [(found[0], attributes(found, 4, len(found))) for found in bodies]


def _general(family: int, body: bytes = b"", *, resource: bool = False) -> bytes:
    return _NFGENMSG.pack(family, 0, n.NFNL_SUBSYS_NFTABLES if resource else 0) + body


def _text(payload: bytes | None) -> str:
    return (payload or b"").rstrip(b"\0").decode(errors="replace")


def _refused(answers: Sequence[Answer]) -> FlannelError:
    first = answers[0]
    return refusal("change nf_tables", OSError(first.errno, first.reason))


def refusal(doing: str, error: OSError) -> FlannelError:
    """The kernel's answer as the error that says what can be done about it."""
    number = error.errno or 0
    if number in (errno.EPERM, errno.EACCES):
        return PrivilegeError(NO_RIGHT)
    if number in _LACKING:
        return KernelUnsupported(f"this kernel cannot {doing}: {error.strerror}", number)
    return KernelRefused(f"cannot {doing}: {error.strerror}", number)
