"""Byte for byte: the patches that flanneld sends, and the nodes that any flanneld has written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from flannel_sdk_kube import KubeOptions
from flannel_sdk_kube.annotations import AnnotationNames
from flannel_sdk_kube.node_client import NodeEntry
from flannel_sdk_kube.nodes import NodeReader
from flannel_sdk_vxlan.vtep_data import VtepDataCodec

from flannel_sdk.model import (
    ByFamily,
    Family,
    MacAddress,
    decode_attrs,
    encode_attrs,
    format_subnet_key,
)
from plugins.kube.tests.store.site import STEM, FakeSite, fake_site, vxlan

WIRE = Path(__file__).parents[4] / "tests" / "wire" / "kube"
DUAL = '{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd05::/48"}'


def _rows(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (WIRE / name).read_text().splitlines()]


PATCHES, NODES = _rows("patches.tsv"), _rows("nodes.tsv")


@pytest.mark.parametrize("row", PATCHES, ids=[row[0] for row in PATCHES])
async def test_the_patch_is_flannels(tmp_path: Path, row: list[str]) -> None:
    _, prefix, value, before, patch = row
    attrs = decode_attrs(value.encode())
    families = attrs.public_ips.families
    async with fake_site(tmp_path) as site:
        enabled = {
            "EnableIPv4": Family.IPV4 in families,
            "EnableIPv6": Family.IPV6 in families,
        }
        site.path.write_text(json.dumps(json.loads(DUAL) | enabled))
        await site.add("own", "10.244.1.0/24", "fd05:0:0:1::/64", annotations=json.loads(before))
        store = site.open(annotation_prefix=prefix)
        lease = await store.acquire_lease(attrs)
        sent = [
            json.dumps(body, separators=(",", ":"), ensure_ascii=False)
            for body in site.client.patches
        ]
        assert sent == ([patch] if patch else [])
        assert await store.renew_lease(lease) == lease
        assert len(site.client.patches) == len(sent)


@pytest.mark.parametrize("row", NODES, ids=[row[0] for row in NODES])
def test_the_lease_is_what_flannel_wrote(row: list[str]) -> None:
    _, cidrs, annotations, key, value = row
    entry = NodeEntry("n", "uid", tuple(cidrs.split()), json.loads(annotations), "7")
    lease = NodeReader(AnnotationNames.of(STEM), Family).lease(entry)
    assert lease is not None
    assert format_subnet_key(lease.subnets) == key
    assert encode_attrs(lease.attrs).decode() == value
    assert (lease.expires_at, lease.revision) == (None, 7)


async def test_d19_flanneld_finds_our_mac(fake: FakeSite) -> None:
    """On its restart it strips quotes and braces, and splits: two parts have to be left."""
    data = VtepDataCodec(1).encode(MacAddress.parse("12:c6:65:89:b4:e3"))
    await fake.add("own", "10.3.1.0/24")
    await fake.open().acquire_lease(replace(vxlan(), backend_data=ByFamily(data)))
    text = str(fake.cluster.annotations("own")[f"{STEM}backend-data"])
    assert text.strip('"}').split(':"')[1:] == ["12:c6:65:89:b4:e3"]


@pytest.mark.parametrize(
    ("prefix", "stem"),
    [
        ("org.com", "org.com/"),
        ("org.com/", "org.com/"),
        ("org.com/9", "org.com/9-"),
        ("org.com/9-", "org.com/9-"),
        ("flannel.alpha.coreos.com", STEM),
    ],
)
def test_names_begin_with_the_prefix(prefix: str, stem: str) -> None:
    names = AnnotationNames.of(KubeOptions(annotation_prefix=prefix).annotation_stem)
    assert names.managed == f"{stem}kube-subnet-manager"
    assert names.backend_type == f"{stem}backend-type"
    assert names.backend_data == (f"{stem}backend-data", f"{stem}backend-v6-data")
    assert names.public_ip == (f"{stem}public-ip", f"{stem}public-ipv6")
    assert names.overwrite == (f"{stem}public-ip-overwrite", f"{stem}public-ipv6-overwrite")
    assert names.stored == (f"{stem}node-public-ip", f"{stem}node-public-ipv6")
