"""The flags that name a store, and what they mean to it."""

import argparse

import pytest

from flannel_sdk.cli.store_arguments import add_store_arguments, store_values
from flannel_sdk.errors import ConfigError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_store_arguments(parser)
    return parser.parse_args(words)


def test_without_flags_the_store_is_sqlite_with_its_own_defaults() -> None:
    args = parsed()
    assert (args.store, store_values(args.store_option)) == ("sqlite", {})


def test_options_add_up_and_the_last_of_equal_keys_wins() -> None:
    args = parsed(
        *("--store", "memory", "--store-option", "path=/a", "--store-option", "ttl=1"),
        *("--store-option", "path=/b=c"),
    )
    assert args.store == "memory"
    assert store_values(args.store_option) == {"path": "/b=c", "ttl": "1"}
    assert parsed().store_option == []


def test_a_value_may_be_empty() -> None:
    assert store_values(["path="]) == {"path": ""}


@pytest.mark.parametrize("wrong", ["path", "=/a", ""])
def test_neither_key_nor_sign_may_be_missing(wrong: str) -> None:
    with pytest.raises(ConfigError, match="has to be KEY=VALUE") as caught:
        store_values(["ttl=1", wrong])
    assert caught.value.key == "store-option"
