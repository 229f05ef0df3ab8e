"""What a vxlan lease publishes, byte for byte, and what is read from peers of any make."""

import json

import pytest
from flannel_sdk_vxlan.vtep_data import VtepDataCodec
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import MacAddress

MAC = MacAddress.parse("c6:d2:32:6f:8f:44")
stations = st.binary(min_size=6, max_size=6).filter(lambda raw: not raw[0] & 1 and any(raw))
vnis = st.integers(0, 2**24 - 1)


def test_writes_flannels_bytes() -> None:
    assert VtepDataCodec(1).encode(MAC) == '{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}'


@given(stations, vnis)
def test_reads_what_it_writes_the_same_both_ways(raw: bytes, vni: int) -> None:
    codec = VtepDataCodec(vni)
    text = codec.encode(MacAddress(raw))
    assert codec.decode(text) == codec.decode_json(text) == raw
    assert type(codec.decode(text)) is MacAddress


@given(
    st.one_of(
        st.text(max_size=60),
        st.from_regex(r'\{"VNI":[012],"VtepMAC":"[0-9a-f:]{0,18}"\}', fullmatch=True),
        st.binary(min_size=6, max_size=6).map(
            lambda raw: f'{{"VNI":1,"VtepMAC":"{MacAddress(raw)}"}}'
        ),
        st.dictionaries(
            st.sampled_from(["VNI", "vni", "VtepMAC", "x"]),
            st.one_of(st.none(), st.integers(), st.text(max_size=20), st.booleans()),
        ).map(json.dumps),
    )
)
def test_both_ways_agree_on_anything(text: str) -> None:
    codec = VtepDataCodec(1)

    def outcome(read: object) -> object:
        try:
            return read(text)  # type: ignore[operator]  # either of the two methods
        except MalformedEntry as error:
            return str(error)

    assert outcome(codec.decode) == outcome(codec.decode_json)


@pytest.mark.parametrize(
    "text",
    [
        '{"VtepMAC":"c6:d2:32:6f:8f:44"}',
        '{"VNI":null,"VtepMAC":"c6:d2:32:6f:8f:44"}',
        '{ "VtepMAC": "C6-D2-32-6F-8F-44", "VNI": 1 }',
        '{"vni":1,"vtepmac":"c6d2.326f.8f44","More":[]}',
        '{"VNI":1,"VtepMAC":"C6:D2:32:6F:8F:44"}',
    ],
)
def test_reads_other_layouts_and_notations(text: str) -> None:
    assert VtepDataCodec(1).decode(text) == MAC


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("null", "not a JSON object"),
        ('"c6:d2:32:6f:8f:44"', "not a JSON object"),
        ('{"VNI":2,"VtepMAC":"c6:d2:32:6f:8f:44"}', "its VNI is 2, not 1"),
        ('{"VNI":true,"VtepMAC":"c6:d2:32:6f:8f:44"}', "its VNI is True, not 1"),
        ('{"VNI":"1","VtepMAC":"c6:d2:32:6f:8f:44"}', "its VNI is 1, not 1"),
        ('{"VNI":1}', "no VtepMAC that can be read"),
        ('{"VNI":1,"VtepMAC":null}', "no VtepMAC that can be read"),
        ('{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f"}', "no VtepMAC that can be read"),
        ('{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:zz"}', "no VtepMAC that can be read"),
        ('{"VNI":1,"VtepMAC":"00:00:00:00:00:00"}', "not the address of one station"),
        ('{"VNI":1,"VtepMAC":"01:00:5e:00:00:01"}', "not the address of one station"),
    ],
)
def test_refuses_what_no_packet_may_be_sent_to(text: str, reason: str) -> None:
    with pytest.raises(MalformedEntry) as caught:
        VtepDataCodec(1).decode(text)
    assert reason in str(caught.value)
