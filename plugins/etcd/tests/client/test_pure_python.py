"""On protobuf's pure-Python implementation, which sends nothing where a bound method serialises."""

import os
import subprocess
import sys
from pathlib import Path

SESSION = """
import asyncio
from google.protobuf.internal import api_implementation
from flannel_sdk_etcd.client import EtcdClient
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.schema import RangeRequest, TxnRequest
from flannel_sdk_etcd.transport import Method
from plugins.etcd.tests.client.tiny_server import DONE, FOUND, TinyServer, serving

got = []

async def look(request, context):
    got.append(RangeRequest.FromString(request).key)
    return FOUND

async def change(request, context):
    got.append(TxnRequest.FromString(request).success[0].request_put.value)
    return DONE

async def main():
    async with serving(TinyServer({Method.RANGE: look, Method.TXN: change})) as server:
        client = EtcdClient(EtcdOptions(endpoints=(str(server.endpoint),)))
        await client.get(b"the key")
        await client.put(b"k", b"the value")
        await client.aclose()

asyncio.run(main())
print(api_implementation.Type(), got)
"""


def test_requests_arrive_whole() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        env=os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("python [b'the key', b'the value']\n", "")
