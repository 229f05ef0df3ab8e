"""What is told of changes, applied in order, always gives what is known."""

from typing import TypeAlias

from flannel_sdk_kube.known_nodes import KnownNodes
from flannel_sdk_kube.node_client import NodeEntry
from hypothesis import given
from hypothesis import strategies as st

from plugins.kube.tests.client.scripted_source import entry

names = st.sampled_from("abc")
entries = st.builds(
    lambda name, uid, ip, revision: entry(name, revision, uid=uid, public_ip=ip),
    names,
    st.sampled_from(["u1", "u2"]),
    st.sampled_from(["192.0.2.1", "192.0.2.2"]),
    st.integers(1, 1000),
)
Step: TypeAlias = NodeEntry | str | list[NodeEntry] | None
steps = st.one_of(
    entries,
    names,
    st.lists(entries, max_size=3),
    st.none(),
)


@given(st.lists(steps, max_size=30))
def test_deltas_lead_to_what_is_known(
    course: list[Step],
) -> None:
    """Texts are deletions, lists whole states, None takes what changed so far."""
    known = KnownNodes()
    told: dict[str, NodeEntry] = {}
    for step in [*course, None]:
        if isinstance(step, NodeEntry):
            known.put(step)
        elif isinstance(step, str):
            known.drop(step)
        elif isinstance(step, list):
            known.replace({node.name: node for node in step})
        else:
            changed, removed = known.take_changes()
            for node in removed:
                assert told.pop(node.name) == node, "not as it was told last"
            for node in changed:
                before = told.get(node.name)
                assert before is None or (before.uid == node.uid and not before.is_same(node))
                told[node.name] = node
            assert told == known.nodes
    assert known.take_changes() == ([], [])
