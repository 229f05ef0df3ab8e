"""The messages: what is shipped, that it is etcd's, and that it loads beside anybody's."""

import ast
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import flannel_sdk_etcd
import pytest
from flannel_sdk_etcd import schema
from google.protobuf.descriptor_pb2 import FileDescriptorSet

PROTO = Path(__file__).parents[2] / "proto"
PACKAGE = files(flannel_sdk_etcd)


def test_what_is_shipped_is_what_the_proto_files_compile_to(tmp_path: Path) -> None:
    compiled = tmp_path / "etcd.binpb"
    arguments = ["--include_imports", f"--descriptor_set_out={compiled}", "etcd.proto"]
    compiler = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}"]
    subprocess.run([*compiler, *arguments], timeout=30, check=True)
    shipped = PACKAGE.joinpath("etcd.binpb").read_bytes()
    assert FileDescriptorSet.FromString(shipped) == FileDescriptorSet.FromString(
        compiled.read_bytes()
    )


def test_the_types_name_the_fields_that_there_are() -> None:
    stub = ast.parse(PACKAGE.joinpath("schema.pyi").read_text())
    told: dict[str, set[str]] = {}
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            told[node.name] = {
                argument.arg
                for method in node.body
                if isinstance(method, ast.FunctionDef) and method.name == "__init__"
                for argument in method.args.kwonlyargs
            }
    for name, fields in told.items():
        assert {field.name for field in getattr(schema, name).DESCRIPTOR.fields} == fields, name
    classes = {name for name, value in vars(schema).items() if isinstance(value, type)}
    assert classes == set(told)


def test_bytes_on_the_wire_are_etcds() -> None:
    """Written down from etcd's API, so that a wrong field number does not agree with itself."""
    compare = schema.Compare(
        result=schema.Compare.EQUAL, target=schema.Compare.MOD, key=b"k", mod_revision=5
    )
    put = schema.RequestOp(request_put=schema.PutRequest(key=b"k", value=b"v", lease=9))
    request = schema.TxnRequest(compare=[compare], success=[put])
    assert schema.TxnRequest.SerializeToString(request).hex(" ") == (
        "0a 07 10 02 1a 01 6b 30 05"  # compare { target: MOD key: "k" mod_revision: 5 }
        " 12 0a 12 08 0a 01 6b 12 01 76 18 09"  # success { request_put { "k" "v" lease: 9 } }
    )
    answer = schema.RangeResponse.FromString(
        bytes.fromhex(
            "0a 06 08 01 10 02 18 07"  # header { cluster_id: 1 member_id: 2 revision: 7 }
            "12 0e 0a 01 6b 10 02 18 03 20 04 2a 01 76 30 05"  # kvs { key .. lease: 5 }
            "18 01 20 02"  # more: true count: 2
        )
    )
    kv = answer.kvs[0]
    assert (kv.key, kv.create_revision, kv.mod_revision, kv.version) == (b"k", 2, 3, 4)
    assert (kv.value, kv.lease) == (b"v", 5)
    assert (answer.header.cluster_id, answer.header.revision, answer.more) == (1, 7, True)


BESIDE = """
from google.protobuf import descriptor_pb2, descriptor_pool
other = descriptor_pb2.FileDescriptorProto(name="kv.proto", package="mvccpb", syntax="proto3")
message = other.message_type.add(name="KeyValue")
message.field.add(name="stranger", number=1, type=9, label=1)
{first}
{second}
from flannel_sdk_etcd import schema
raw = schema.KeyValueMessage.SerializeToString(schema.KeyValueMessage(key=b"k", lease=3))
assert schema.KeyValueMessage.FromString(raw).lease == 3
pool = descriptor_pool.Default()
assert [f.name for f in pool.FindMessageTypeByName("mvccpb.KeyValue").fields] == ["stranger"]
print("fine")
"""


@pytest.mark.parametrize("backend", ["upb", "python"])
@pytest.mark.parametrize("ours_first", [False, True])
def test_it_loads_beside_another_package_with_etcds_names(ours_first: bool, backend: str) -> None:
    steps = ["descriptor_pool.Default().Add(other)", "import flannel_sdk_etcd.schema"]
    first, second = reversed(steps) if ours_first else steps
    done = subprocess.run(
        [sys.executable, "-c", BESIDE.format(first=first, second=second)],
        env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": backend},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
