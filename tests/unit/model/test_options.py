"""BackendOptions: kinds, bounds, case, defaults, and the key that an error names."""

from collections.abc import Callable

import pytest

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import BackendOptions

OPTIONS = BackendOptions(
    {"VNI": 5, "vni": 6, "Port": None, "GBP": True, "Secret": "s3cret", "Rate": 1.5}
)


def test_values_in_any_case_the_last_one_wins() -> None:
    assert OPTIONS.integer("VNI", 1) == 6
    assert OPTIONS.boolean("gbp", False) is True
    assert OPTIONS.text("SECRET", "") == "s3cret"
    assert OPTIONS.get("rate") == 1.5


def test_absent_and_null_give_the_default() -> None:
    assert OPTIONS.integer("Port", 8472) == 8472
    assert OPTIONS.integer("MTU", None) is None
    assert OPTIONS.boolean("Learning", False) is False
    assert OPTIONS.text("Name", "x") == "x"
    assert OPTIONS.get("Nothing") is None


@pytest.mark.parametrize(
    ("key", "ask"),
    [
        ("Backend.VNI", lambda: OPTIONS.integer("VNI", 1, minimum=7)),
        ("Backend.VNI", lambda: OPTIONS.integer("VNI", 1, maximum=5)),
        ("Backend.GBP", lambda: OPTIONS.integer("GBP", 1)),
        ("Backend.Rate", lambda: OPTIONS.integer("Rate", 1)),
        ("Backend.Secret", lambda: OPTIONS.integer("Secret", 1)),
        ("Backend.VNI", lambda: OPTIONS.boolean("VNI", False)),
        ("Backend.Secret", lambda: OPTIONS.boolean("Secret", False)),
        ("Backend.VNI", lambda: OPTIONS.text("VNI", "")),
    ],
)
def test_a_wrong_value_names_the_key_and_no_secret(key: str, ask: Callable[[], object]) -> None:
    with pytest.raises(ConfigError) as caught:
        ask()
    assert caught.value.key == key
    assert str(caught.value).startswith(key)
    assert "s3cret" not in str(caught.value)
