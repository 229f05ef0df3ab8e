"""The options of the vxlan backend: defaults, keys in any case, a sentence for each mistake."""

import pytest
from flannel_sdk_vxlan.options import VxlanOptions

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import BackendOptions


def test_defaults_are_flannels() -> None:
    assert VxlanOptions.read(BackendOptions({})) == VxlanOptions(
        vni=1, port=8472, mtu=None, gbp=False, learning=False, direct_routing=False
    )


def test_reads_keys_in_any_case() -> None:
    values = {
        "vni": 2**24 - 1,
        "PORT": 4789,
        "Mtu": 1400,
        "gbp": True,
        "learning": True,
        "directRouting": True,
    }
    assert VxlanOptions.read(BackendOptions(values)) == VxlanOptions(
        vni=2**24 - 1, port=4789, mtu=1400, gbp=True, learning=True, direct_routing=True
    )


def test_port_0_is_the_kernels_default_and_vni_0_is_a_vni() -> None:
    options = VxlanOptions.read(BackendOptions({"Port": 0, "VNI": 0, "MTU": 0}))
    assert (options.port, options.vni, options.mtu) == (8472, 0, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VNI", -1),
        ("VNI", 2**24),
        ("VNI", "1"),
        ("VNI", True),
        ("Port", 65536),
        ("Port", -1),
        ("MTU", -1),
        ("MTU", 1e9),
        ("GBP", 1),
        ("Learning", "yes"),
        ("DirectRouting", "true"),
    ],
)
def test_a_wrong_value_names_its_key(name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        VxlanOptions.read(BackendOptions({name: value}))
    assert caught.value.key == f"Backend.{name}"
    assert caught.value.key in str(caught.value)
