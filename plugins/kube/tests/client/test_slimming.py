"""Decoding: the quick way and the general way give the same, and refuse the same."""

import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from flannel_sdk_kube.slimming import NotFromAPIServer, Slimmer
from hypothesis import given
from hypothesis import strategies as st

from plugins.kube.tests.client.scripted_api import PREFIX, a_node, bookmark, event, status

JsonObject: TypeAlias = dict[str, Any]
SLIMMER = Slimmer(PREFIX)
Dump = Callable[[object], bytes]


def _compact(thing: object) -> bytes:
    return json.dumps(thing, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _spaced(thing: object) -> bytes:
    return json.dumps(thing, indent=1).encode()


def _list(*nodes: object, revision: str = "9", rest: str = "") -> JsonObject:
    meta = {"resourceVersion": revision} | ({"continue": rest} if rest else {})
    return {"kind": "NodeList", "apiVersion": "v1", "metadata": meta, "items": list(nodes)}


def _full(name: str, annotations: dict[str, str]) -> JsonObject:
    """With all that could mislead somebody who cuts."""
    node: JsonObject = dict(a_node(name, 5, annotations=annotations))
    spec, state = node.pop("spec"), node.pop("status")
    tricky = {
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps(
            {"metadata": {}, "items": [1, {"metadata": {}}], "status": {}, "spec": {}}
        ),
        "odd": ',"status":{ },{"metadata":{ "items":[ ]} \\',
    }
    meta: Any = node["metadata"]
    meta["annotations"] |= tricky
    meta["managedFields"] = [{"subresource": "status", "fieldsV1": {"f:status": {"f:x": {}}}}]
    node["spec"] = spec | {"taints": [{"key": "status", "effect": "NoSchedule"}]}
    node["status"] = state
    return node


texts = st.text(max_size=20)
annotation_maps = st.dictionaries(
    st.one_of(texts, texts.map(lambda text: f"{PREFIX}{text}")), texts, max_size=4
)


@given(st.lists(annotation_maps, max_size=4), st.sampled_from([_compact, _spaced]))
def test_both_ways_agree(maps: list[dict[str, str]], dump: Dump) -> None:
    nodes = [_full(f"n{number}", annotations) for number, annotations in enumerate(maps)]
    page = SLIMMER.page(dump(_list(*nodes, rest="more")))
    assert page == SLIMMER._whole_page(_list(*nodes, rest="more"))
    assert (page.revision, page.rest, len(page.nodes)) == ("9", "more", len(maps))
    for node, found in zip(nodes, page.nodes, strict=True):
        assert SLIMMER.event(dump(event("ADDED", node))).node == found
        assert SLIMMER.node(dump(node)) == found
        wanted = node["metadata"]["annotations"]
        assert found.annotations == {k: v for k, v in wanted.items() if k.startswith(PREFIX)}


def test_the_usual_order_is_cut() -> None:
    page = _compact(_list(_full("a", {}), _full("b", {})))
    assert SLIMMER._cut_page(page) is not None


@pytest.mark.parametrize("first", ["metadata", "spec", "status"])
@pytest.mark.parametrize("last", ["metadata", "spec", "status"])
def test_any_order_gives_the_same(first: str, last: str) -> None:
    node = _full("a", {f"{PREFIX}public-ip": "1"})
    order = sorted(node, key=lambda key: (key == last, key != first))
    other = {key: node[key] for key in order}
    assert SLIMMER.page(_compact(_list(other, node))).nodes == [SLIMMER.node(_compact(node))] * 2
    assert SLIMMER.event(_compact(event("ADDED", other))).node == SLIMMER.node(_compact(node))


def test_pod_cidrs() -> None:
    def cidrs(spec: object) -> tuple[str, ...]:
        return SLIMMER.node(_compact({**a_node("a", 1), "spec": spec})).pod_cidrs

    assert cidrs({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"]}) == (
        "10.0.0.0/24",
        "fd00::/64",
    )
    assert cidrs({"podCIDR": "10.0.0.0/24"}) == ("10.0.0.0/24",)
    assert cidrs({"podCIDR": "10.0.0.0/24", "podCIDRs": []}) == ("10.0.0.0/24",)
    for none in ({}, None, {"podCIDR": ""}, {"podCIDRs": None}):
        assert cidrs(none) == ()


def test_values_that_are_no_text_are_a_problem_of_that_node() -> None:
    odd: dict[str, object] = {f"{PREFIX}public-ip": 5, f"{PREFIX}backend-type": "vxlan"}
    node = SLIMMER.node(_compact(a_node("a", 1, annotations=odd)))
    assert node.problem == f"annotation {PREFIX}public-ip is no text"
    assert node.annotations == {f"{PREFIX}backend-type": "vxlan"}
    node = SLIMMER.node(_compact({**a_node("a", 1), "spec": {"podCIDRs": [7]}}))
    assert node.problem == "a pod CIDR is no text"


def test_bookmarks_and_errors() -> None:
    assert SLIMMER.event(_compact(bookmark(7))).revision == "7"
    assert not SLIMMER.event(_compact(bookmark(7))).ends_initial
    assert SLIMMER.event(_compact(bookmark(7, end=True))).ends_initial
    expired = SLIMMER.event(_compact(event("ERROR", status(410, "Expired"))))
    assert expired.status is not None
    assert expired.status["code"] == 410


NO_NODES: list[object] = [
    {},
    {"metadata": None},
    {"metadata": {"name": "a"}},
    {"metadata": {"name": 5, "resourceVersion": "1"}},
    {"metadata": {"name": "a", "resourceVersion": 1}},
    {"metadata": {"name": "a", "resourceVersion": "1", "annotations": ["x"]}},
    {"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {"podCIDRs": 5}},
    {"metadata": [], "spec": {}, "status": {}},
]


@pytest.mark.parametrize("thing", NO_NODES)
def test_what_is_no_node_is_refused(thing: object) -> None:
    with pytest.raises(NotFromAPIServer):
        SLIMMER.node(_compact(thing))
    with pytest.raises(NotFromAPIServer):
        SLIMMER.page(_compact(_list(thing)))
    with pytest.raises(NotFromAPIServer):
        SLIMMER.event(_compact({"type": "ADDED", "object": thing}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"\xff",
        b'{"items":[',
        b'{"items":5,"metadata":{}}',
        b'{"metadata":{},"items":[]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    for decode in (SLIMMER.page, SLIMMER.event, SLIMMER.node):
        with pytest.raises(NotFromAPIServer):
            decode(body)
