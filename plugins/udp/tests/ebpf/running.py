"""Running a loaded program on a packet, which the kernel offers for tests."""

from struct import pack_into, unpack_from

from flannel_sdk_udp.ebpf.syscall import Buffer, bpf

_PROGRAM_RUN = 10


def run_program(descriptor: int, packet: bytes) -> tuple[int, bytes]:
    """BPF_PROG_TEST_RUN: what the program returns for a packet, and the packet afterwards."""
    room = len(packet) + 256
    given, out = Buffer(packet), Buffer(room)
    attributes = bytearray(64)
    sizes = 0, len(packet), room
    pack_into("=4I2QI", attributes, 0, descriptor, *sizes, given.address, out.address, 1)
    changed = bpf(_PROGRAM_RUN, attributes)[1]
    _, verdict, _, length = unpack_from("=IiII", changed)
    return verdict, bytes(out)[:length]
