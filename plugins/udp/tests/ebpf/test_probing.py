"""What it takes to run the programs, and the sentence where something lacks."""

import ctypes
import errno
import threading
import time
from collections.abc import Callable, Iterable
from struct import pack
from typing import NoReturn

import pytest
from flannel_sdk_udp import plugin
from flannel_sdk_udp.datapath import Counter, DatapathUnsupported
from flannel_sdk_udp.ebpf import programs, syscall, traffic_control
from flannel_sdk_udp.ebpf.attachment import Attachment, loaded_programs
from flannel_sdk_udp.ebpf.elf import Compiled, read_object
from flannel_sdk_udp.ebpf.programs import LoadedPrograms, Target, possible_processors
from flannel_sdk_udp.ebpf.refusals import impossible, refused

from flannel_sdk.errors import KernelRefused, PrivilegeError
from flannel_sdk.model import Family, IPAddress, Prefix
from flannel_sdk.netlink.socket import RequestSocket
from flannel_sdk.netns import enter_netns
from flannel_sdk.testing.namespaces import Namespace
from plugins.udp.tests.ebpf.test_keeping import BOTH, filters, tunnel
from plugins.udp.tests.joining import join, peer
from tests.overlay import V4, Node, config, register, running, told, underlay

NET_ADMIN, BPF = 12, 39
KERNEL = config("udp", V4, Datapath="kernel")


def with_rights(
    netns: Namespace, rights: Iterable[int], work: Callable[[], None]
) -> Exception | None:
    """What ``work`` raises in a thread inside that has these capabilities only."""
    raised: list[Exception] = []

    def body() -> None:
        enter_netns(netns.path)
        mask = sum(1 << right for right in rights)
        low, high = mask & 0xFFFFFFFF, mask >> 32
        header, data = pack("=Ii", 0x20080522, 0), pack("=6I", low, low, 0, high, high, 0)
        assert ctypes.CDLL(None).capset(header, data) == 0
        try:
            work()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return raised[0] if raised else None


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns, 1)


@pytest.mark.root
def test_two_capabilities_are_enough(nodes: list[Node]) -> None:
    node = nodes[0]
    node.ip("tuntap add flannel0 mode tun")

    def work() -> None:
        made = Attachment(tunnel(node, "flannel0"))
        made.attach()
        made.change_peers({}, [], full=True)
        made.repair()
        assert made.counters()[Counter.SENT_PACKETS] == 0
        made.remove()
        made.close()

    assert with_rights(node.netns, [NET_ADMIN, BPF], work) is None


@pytest.mark.root
@pytest.mark.parametrize("rights", [[NET_ADMIN], [BPF], []])
def test_a_lack_of_rights_is_said_in_a_sentence(nodes: list[Node], rights: list[int]) -> None:
    node = nodes[0]
    node.ip("tuntap add flannel0 mode tun")
    error = with_rights(node.netns, rights, Attachment(tunnel(node, "flannel0")).attach)
    assert isinstance(error, DatapathUnsupported)
    assert "needs CAP_NET_ADMIN and CAP_BPF" in str(error)


@pytest.mark.root
async def test_auto_falls_back_and_says_why_and_kernel_does_not(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_bpf(*_: object) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(syscall, "bpf", no_bpf)
    caplog.set_level("INFO")
    network = await join(nodes[0], config("udp", V4))
    assert told(network, "datapath", "path") == "userspace"
    assert "this kernel was built without eBPF" in str(told(network, "datapath", "why"))
    assert "flannel0 carries packets in userspace: not kernel: cannot load eBPF" in caplog.text
    with pytest.raises(DatapathUnsupported, match="built without eBPF"):
        await register(plugin.create(nodes[0].context()), nodes[0], KERNEL)


@pytest.mark.root
async def test_a_start_without_ebpf_takes_the_programs_of_the_former_away(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = nodes[0]
    async with running(await join(node, KERNEL)) as feed:
        await feed.full([peer(2)])
    assert filters(node) == BOTH

    def no_bpf(*_: object) -> int:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(syscall, "bpf", no_bpf)
    assert told(await join(node, config("udp", V4)), "datapath", "path") == "userspace"
    assert filters(node) == set()


@pytest.mark.root
async def test_userspace_needs_no_traffic_control(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a kernel that was built without it."""

    class Without(RequestSocket):
        def ask(self, *_: object) -> NoReturn:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(traffic_control, "RequestSocket", Without)
    network = await join(nodes[0], config("udp", V4, Datapath="userspace"))
    assert told(network, "datapath", "path") == "userspace"


@pytest.mark.root
async def test_auto_takes_the_kernel_where_it_can(
    nodes: list[Node], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    network = await join(nodes[0], config("udp", V4))
    assert told(network, "datapath", "path") == "kernel"
    assert "flannel0 carries packets in kernel" in caplog.text


@pytest.mark.root
def test_the_verifiers_words_are_in_the_sentence(
    monkeypatch: pytest.MonkeyPatch, nodes: list[Node]
) -> None:
    def wrong(data: bytes) -> Compiled:
        compiled = read_object(data)
        name, program = next(iter(compiled.programs.items()))
        exit_at_once = b"\x95" + bytes(7)
        return compiled._replace(
            programs={**compiled.programs, name: program._replace(code=exit_at_once, maps=())}
        )

    monkeypatch.setattr(programs, "read_object", wrong)
    with pytest.raises(DatapathUnsupported, match=r"Linux 5\.12 or newer .*R0 !read_ok"):
        loaded_programs()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EPERM, DatapathUnsupported),
        (errno.ENOSYS, DatapathUnsupported),
        (errno.EINVAL, DatapathUnsupported),
        (errno.EPROTO, DatapathUnsupported),
        (errno.ENODEV, KernelRefused),
        (errno.ENOMEM, KernelRefused),
    ],
)
def test_only_a_lack_of_room_or_of_a_device_may_heal_at_first(
    number: int, kind: type[Exception]
) -> None:
    assert type(impossible("do it", OSError(number, "words"))) is kind


def test_what_worked_before_may_heal() -> None:
    assert type(refused("do it", OSError(errno.EPERM, "words"))) is PrivilegeError
    assert type(refused("do it", OSError(errno.ENODEV, "words"))) is KernelRefused


@pytest.mark.parametrize(("text", "count"), [("0\n", 1), ("0-1\n", 2), ("0,2-63\n", 64)])
def test_processors_are_counted_by_their_highest_number(text: str, count: int) -> None:
    assert possible_processors(text) == count


@pytest.mark.root
def test_ten_thousand_peers_cost_little(nodes: list[Node]) -> None:
    made = nodes[0].netns.call(LoadedPrograms)
    try:
        peers = {
            Prefix(IPAddress.from_int(0x0A000000 + (number << 8), Family.IPV4), 24): Target(
                IPAddress.from_int(0xAC100000 + number, Family.IPV4), carried=True
            )
            for number in range(10_000)
        }
        started = time.perf_counter()
        made.replace_peers(peers)
        filled = time.perf_counter() - started
        started = time.perf_counter()
        made.replace_peers(peers)
        again = time.perf_counter() - started
        print(f"10,000 peers: {filled * 1e6 / 1e4:.1f} us each, {again * 1e3:.1f} ms when known")
        assert filled < 5
        assert again < filled
        made.replace_peers({})
    finally:
        made.close()


@pytest.mark.root
def test_a_change_that_the_kernel_refuses_can_be_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = LoadedPrograms()
    subnet = Prefix.parse("10.5.2.0/24")
    first, second = (
        Target(IPAddress.parse(f"192.0.2.{number}"), carried=True) for number in (2, 3)
    )
    made.change_peers({subnet: first}, set())

    real = syscall.MapCalls.update

    def no_subnets(self: syscall.MapCalls, key: bytes, value: bytes) -> None:
        if len(value) > 4:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        real(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(syscall.MapCalls, "update", no_subnets)
        with pytest.raises(OSError, match="allocate"):
            made.change_peers({subnet: second}, set())
    made.change_peers({subnet: second}, set())
    made.change_peers({}, {subnet})
    made.close()
