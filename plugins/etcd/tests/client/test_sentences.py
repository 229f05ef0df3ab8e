"""One sentence for each failure, with the endpoint, and endpoints that say the same together."""

import pytest
from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.sentences import sentence, store_error
from flannel_sdk_etcd.transport import CallFailed, Failure

from flannel_sdk.errors import ConfigError, RetryableError, StoreCorrupt, StoreUnavailable

A, B = Endpoint("a", 1, secure=False), Endpoint("b", 2, secure=False)


@pytest.mark.parametrize(
    ("failure", "user"),
    [(failure, "flannel") for failure in Failure]
    + [(failure, None) for failure in Failure if failure is not Failure.WRONG_PASSWORD],
)
def test_each_failure_is_a_sentence_with_the_endpoint_and_its_words(
    failure: Failure, user: str | None
) -> None:
    text = sentence({A: CallFailed(failure, "{the server's} own words")}, user)
    assert text.startswith("etcd at http://a:1 ")
    assert text.endswith(".")
    assert "{the server's} own words" in text
    assert "None" not in text


def test_endpoints_that_say_the_same_are_named_together() -> None:
    down = CallFailed(Failure.NOT_CONNECTED, "Connection refused")
    assert sentence({A: down, B: down}, None).startswith("etcd at http://a:1 and http://b:2 ref")
    other = CallFailed(Failure.UNANSWERED, "no answer came in time")
    assert sentence({A: down, B: other}, None).count("etcd at") == 2


def test_broken_data_is_an_error_of_its_own_before_anything_worked() -> None:
    corrupt = {A: CallFailed(Failure.REFUSED, "etcdserver: corrupt cluster")}
    assert isinstance(store_error(corrupt, None, has_worked=False), StoreCorrupt)
    assert type(store_error(corrupt, None, has_worked=True)) is StoreUnavailable


def test_no_user_where_one_is_wanted_is_permanent_and_a_refused_token_is_not() -> None:
    refused = {A: CallFailed(Failure.TOKEN_REFUSED, "etcdserver: user name is empty")}
    assert isinstance(store_error(refused, None, has_worked=False), ConfigError)
    assert isinstance(store_error(refused, "flannel", has_worked=False), RetryableError)
