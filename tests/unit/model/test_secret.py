"""A secret shows itself to nobody who does not ask for it by name."""

import copy
import json
import pickle
from dataclasses import asdict, dataclass

import pytest

from flannel_sdk.model import Secret


@dataclass(frozen=True)
class Options:
    password: Secret


def test_no_way_of_printing_shows_it() -> None:
    secret = Secret("hunter2")
    options = Options(secret)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", repr(options)]
    assert not any("hunter2" in text for text in shown)
    assert "hunter2" not in repr(vars(options))


def test_it_is_neither_pickled_nor_written_as_json() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("hunter2"))
    with pytest.raises(TypeError):
        json.dumps(Secret("hunter2"))


def test_it_can_be_copied_compared_and_revealed() -> None:
    secret = Secret("hunter2")
    assert secret == Secret("hunter2")
    assert secret != Secret("other")
    assert hash(secret) == hash(Secret("hunter2"))
    assert secret.reveal() == "hunter2"
    assert copy.deepcopy(secret) == secret
    assert asdict(Options(secret)) == {"password": secret}


def test_an_empty_one_is_false() -> None:
    assert not Secret("")
    assert Secret("x")
