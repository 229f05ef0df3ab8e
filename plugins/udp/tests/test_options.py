"""The options, and the sentence for each that is wrong."""

import pytest
from flannel_sdk_udp.options import Choice, UdpOptions

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import BackendOptions


def test_the_defaults_are_flannels() -> None:
    assert UdpOptions.read(BackendOptions()) == UdpOptions(8285, Choice.AUTO)
    assert UdpOptions.read(BackendOptions({"Port": 0})).port == 8285


def test_keys_and_names_in_any_case() -> None:
    options = UdpOptions.read(BackendOptions({"port": 9000, "DATAPATH": "Kernel"}))
    assert options == UdpOptions(9000, Choice.KERNEL)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("Port", 65536, "between 0 and 65535"),
        ("Port", "8285", "whole number"),
        ("Datapath", "xdp", "'xdp', which is none of auto, kernel, userspace"),
        ("Datapath", 1, "has to be a string"),
    ],
)
def test_what_is_wrong_is_named(key: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        UdpOptions.read(BackendOptions({key: value}))
    assert caught.value.key == f"Backend.{key}"
    assert str(caught.value).count(".") <= 3
