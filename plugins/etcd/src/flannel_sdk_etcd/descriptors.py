"""Loads etcd's message types into a pool of their own, beside any other etcd package.

``etcd.binpb`` is what ``proto/*.proto`` compile to. In protobuf's default pool a second package
with etcd's names would crash on import, and generated code would be tied to one protobuf release.
"""

from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

DESCRIPTOR_SET = "etcd.binpb"


def _loaded() -> DescriptorPool:
    pool = DescriptorPool()
    shipped = files(__package__).joinpath(DESCRIPTOR_SET).read_bytes()
    for file in FileDescriptorSet.FromString(shipped).file:
        pool.Add(file)
    return pool


_pool = _loaded()


def message_class(name: str) -> type[Message]:
    """The class of the message that is called ``name`` with its package; KeyError if none is."""
    return GetMessageClass(_pool.FindMessageTypeByName(name))
