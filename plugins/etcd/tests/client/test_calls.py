"""Who is asked, how often, for how long, and what is raised: against members with scripts."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import ParamSpec

import pytest
from flannel_sdk_etcd.client import EtcdClient
from flannel_sdk_etcd.errors import Compacted, EtcdLeaseGone, OutcomeUnknown
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.records import Commit
from flannel_sdk_etcd.schema import (
    KeyValueMessage,
    LeaseGrantResponse,
    LeaseRevokeResponse,
    RangeResponse,
    ResponseHeader,
    TxnResponse,
)
from flannel_sdk_etcd.transport import CallFailed, Failure, Method

from flannel_sdk.errors import (
    ConfigError,
    FlannelError,
    PermanentError,
    RetryableError,
    StoreUnavailable,
)
from flannel_sdk.model import Secret
from flannel_sdk.testing import virtual_time
from plugins.etcd.tests.client.scripted_members import HANG, Member, Script, member, token

FOUND = RangeResponse(header=ResponseHeader(revision=7))
DONE = TxnResponse(header=ResponseHeader(revision=8), succeeded=True)
WRITES: dict[str, Callable[[EtcdClient], Coroutine[object, object, object]]] = {
    "put": lambda client: client.put(b"k", b"v"),
    "put_if": lambda client: client.put_if(b"k", 0, b"v"),
    "delete_if": lambda client: client.delete_if(b"k", 3),
    "grant_lease": lambda client: client.grant_lease(60),
}
ANSWERS = {"grant_lease": LeaseGrantResponse()}


P = ParamSpec("P")


def in_virtual_time(test: Callable[P, Coroutine[object, object, None]]) -> Callable[P, None]:
    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        virtual_time.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def client_of(
    *members: Member, user: str | None = None, timeout: float = 0.5
) -> AsyncIterator[EtcdClient]:
    options = EtcdOptions(
        endpoints=tuple(str(one.endpoint) for one in members),
        user=user,
        password=None if user is None else Secret("hunter2"),
        timeout=timeout,
    )
    client = EtcdClient(options, Script(*members))
    try:
        yield client
    finally:
        await client.aclose()
    assert all(one.is_closed for one in members)


async def failure(call: Awaitable[object]) -> FlannelError:
    with pytest.raises(FlannelError) as failed:
        await call
    assert not isinstance(failed.value, CallFailed)
    return failed.value


# -- what is repeated --------------------------------------------------------------


@in_virtual_time
async def test_a_read_goes_on_to_the_next_member_until_one_answers() -> None:
    silent, broken, good = member(1, HANG), member(2, Failure.UNANSWERED), member(3, FOUND)
    async with client_of(silent, broken, good) as client:
        assert await client.get(b"k") == (None, 7)
        assert [len(one.calls) for one in (silent, broken, good)] == [1, 1, 1]
        await client.get(b"k")
    assert len(good.calls) == 2, "who answered is asked first"


@in_virtual_time
async def test_a_read_ends_when_its_time_is_over() -> None:
    async with client_of(member(1, HANG), member(2, HANG), timeout=0.3) as client:
        started = asyncio.get_running_loop().time()
        error = await failure(client.get(b"k"))
        assert 0.1 < asyncio.get_running_loop().time() - started < 0.6
    assert isinstance(error, StoreUnavailable)
    assert "m1" in str(error)
    assert "m2" in str(error)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("step", [Failure.UNANSWERED, HANG])
@in_virtual_time
async def test_a_write_that_may_have_left_is_not_repeated(
    write: str, step: Failure | float
) -> None:
    first, other = member(1, step), member(2, DONE)
    async with client_of(first, other, timeout=0.2) as client:
        error = await failure(WRITES[write](client))
        assert isinstance(error, OutcomeUnknown)
    assert len(first.calls) == 1
    assert not other.calls


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("step", [Failure.NOT_CONNECTED, Failure.UNTRUSTED, Failure.NO_LEADER])
@in_virtual_time
async def test_a_write_that_was_not_done_goes_to_the_next_member(write: str, step: Failure) -> None:
    first, other = member(1, step), member(2, ANSWERS.get(write, DONE))
    async with client_of(first, other) as client:
        await WRITES[write](client)
    assert len(first.calls) == len(other.calls) == 1


@in_virtual_time
async def test_a_revoke_is_repeated_as_it_can_do_no_harm() -> None:
    first, other = member(1, Failure.UNANSWERED), member(2, LeaseRevokeResponse())
    async with client_of(first, other) as client:
        await client.revoke_lease(5)
    assert len(other.calls) == 1


@in_virtual_time
async def test_an_etcd_lease_that_is_gone_is_fine_to_revoke_and_has_no_time() -> None:
    async with client_of(member(1, Failure.NOT_FOUND)) as client:
        await client.revoke_lease(5)
        assert await client.lease_time(5) is None
        error = await failure(client.put_if(b"k", 0, b"v", 5))
    assert type(error) is EtcdLeaseGone


@in_virtual_time
async def test_a_definite_answer_is_not_asked_for_again() -> None:
    first, other = member(1, Failure.NO_SPACE, FOUND), member(2, DONE)
    async with client_of(first, other) as client:
        error = await failure(client.put(b"k", b"v"))
    assert type(error) is StoreUnavailable
    assert "full" in str(error)
    assert first.asked(Method.TXN) == 1
    assert not other.calls


def held(value: bytes, mod_revision: int, lease: int = 0) -> RangeResponse:
    kv = KeyValueMessage(key=b"k", value=value, mod_revision=mod_revision, lease=lease)
    return RangeResponse(header=ResponseHeader(revision=9), kvs=[kv])


@in_virtual_time
async def test_the_write_that_fills_etcd_is_done_though_it_is_refused() -> None:
    full = Failure.NO_SPACE
    async with client_of(member(1, full, held(b"v", 9, 5), full, held(b"v", 9))) as client:
        assert await client.put_if(b"k", 3, b"v", 5) == Commit(True, 9, None)
        assert await client.put(b"k", b"v") == 9


@pytest.mark.parametrize("there", [FOUND, held(b"v", 3, 5), held(b"x", 9, 5), held(b"v", 9, 6)])
@in_virtual_time
async def test_a_write_that_a_full_etcd_did_not_do_is_refused(there: RangeResponse) -> None:
    async with client_of(member(1, Failure.NO_SPACE, there)) as client:
        error = await failure(client.put_if(b"k", 3, b"v", 5))
    assert type(error) is StoreUnavailable
    assert "full" in str(error)


@in_virtual_time
async def test_a_write_to_a_full_etcd_that_cannot_be_read_is_in_doubt() -> None:
    async with client_of(member(1, Failure.NO_SPACE, Failure.UNANSWERED)) as client:
        error = await failure(client.put_if(b"k", 3, b"v", 5))
    assert type(error) is OutcomeUnknown
    assert "full" in str(error)


@in_virtual_time
async def test_history_that_is_gone_is_an_error_of_its_own() -> None:
    async with client_of(member(1, Failure.COMPACTED)) as client:
        with pytest.raises(Compacted):
            await anext(client.list(b"p", revision=3))


# -- connecting --------------------------------------------------------------------


@in_virtual_time
async def test_a_black_hole_among_good_members_costs_a_second_once() -> None:
    hole, good = member(1, FOUND, connects=[HANG]), member(2, FOUND)
    async with client_of(hole, good, timeout=5) as client:
        started = asyncio.get_running_loop().time()
        await client.get(b"k")
        assert asyncio.get_running_loop().time() - started < 1.5
        started = asyncio.get_running_loop().time()
        await client.get(b"k")
        assert asyncio.get_running_loop().time() - started < 0.1


@in_virtual_time
async def test_the_first_connect_fails_at_once_where_nobody_listens() -> None:
    refused = [Failure.NOT_CONNECTED]
    members = member(1, connects=[*refused]), member(2, connects=[*refused])
    async with client_of(*members, timeout=5) as client:
        started = asyncio.get_running_loop().time()
        error = await failure(client.get(b"k"))
        assert asyncio.get_running_loop().time() - started < 0.2
    assert isinstance(error, StoreUnavailable)
    assert "m1" in str(error)
    assert "m2" in str(error)


@pytest.mark.parametrize("write", [False, True])
@in_virtual_time
async def test_once_it_has_worked_a_member_that_comes_back_in_time_is_awaited(
    write: bool,
) -> None:
    down = Failure.NOT_CONNECTED
    only = member(1, FOUND, DONE, connects=[None, down, down, None])
    async with client_of(only, timeout=2) as client:
        await client.get(b"k")
        only.steps = deque([DONE if write else FOUND])
        await (client.put(b"k", b"v") if write else client.get(b"k"))
    assert only.connected == 4


@in_virtual_time
async def test_a_slow_member_is_not_given_up_before_time_is_over() -> None:
    slow = member(1, FOUND, connects=[HANG, HANG, None])
    other = member(2, FOUND, connects=[Failure.NOT_CONNECTED])
    async with client_of(slow, other, timeout=5) as client:
        await client.get(b"k")


# -- what cannot heal --------------------------------------------------------------

FINAL = {
    Failure.UNTRUSTED: "endpoints",
    Failure.FORBIDDEN: "user",
    Failure.TOKEN_REFUSED: "user",
}


@pytest.mark.parametrize("kind", FINAL)
@in_virtual_time
async def test_what_somebody_has_to_change_is_permanent_before_the_first_success(
    kind: Failure,
) -> None:
    connects = [kind] if kind is Failure.UNTRUSTED else [None]
    async with client_of(member(1, kind, connects=[*connects])) as client:
        error = await failure(client.get(b"k"))
    assert isinstance(error, ConfigError)
    assert error.key == FINAL[kind]


@pytest.mark.parametrize("kind", FINAL)
@in_virtual_time
async def test_the_same_later_may_be_a_rotation_and_is_retried(kind: Failure) -> None:
    connects = [None, kind] if kind is Failure.UNTRUSTED else [None]
    async with client_of(member(1, FOUND, kind, connects=[*connects])) as client:
        await client.get(b"k")
        error = await failure(client.get(b"k"))
    assert isinstance(error, RetryableError)
    assert not isinstance(error, PermanentError)


@in_virtual_time
async def test_where_one_member_is_down_and_one_untrusted_it_may_heal() -> None:
    members = member(1, connects=[Failure.NOT_CONNECTED]), member(2, connects=[Failure.UNTRUSTED])
    async with client_of(*members) as client:
        assert isinstance(await failure(client.get(b"k")), RetryableError)


@pytest.mark.parametrize("kind", [Failure.NO_LEADER, Failure.NO_SPACE, Failure.REFUSED])
@in_virtual_time
async def test_what_may_heal_is_never_permanent(kind: Failure) -> None:
    async with client_of(member(1, kind), timeout=0.2) as client:
        assert isinstance(await failure(client.get(b"k")), RetryableError)


# -- tokens ------------------------------------------------------------------------


@in_virtual_time
async def test_callers_at_once_authenticate_once_and_share_the_token() -> None:
    only = member(1, FOUND)
    only.authenticates = deque([token("t1")])
    async with client_of(only, user="flannel") as client:
        await asyncio.gather(*(client.get(b"k") for _ in range(20)))
    assert only.asked(Method.AUTHENTICATE) == 1
    assert {call.token for call in only.calls if call.method is Method.RANGE} == {"t1"}


@pytest.mark.parametrize("write", [False, True])
@in_virtual_time
async def test_a_refused_token_is_replaced_once_and_never_sent_with_authenticate(
    write: bool,
) -> None:
    good = DONE if write else FOUND
    only = member(1, good, Failure.TOKEN_REFUSED, good)
    only.authenticates = deque([token("t1"), token("t2")])
    async with client_of(only, user="flannel") as client:
        call = (lambda: client.put(b"k", b"v")) if write else (lambda: client.get(b"k"))
        await call()
        await call()
    sent = [(call.method, call.token) for call in only.calls]
    kind = Method.TXN if write else Method.RANGE
    assert sent == [
        (Method.AUTHENTICATE, None),
        (kind, "t1"),
        (kind, "t1"),
        (Method.AUTHENTICATE, None),
        (kind, "t2"),
    ]


@in_virtual_time
async def test_a_token_refused_to_many_at_once_is_replaced_once() -> None:
    only = member(1, FOUND)
    only.authenticates = deque([token("t1"), token("t2"), token("t3")])
    async with client_of(only, user="flannel") as client:
        await client.get(b"k")
        only.refuses = "t1"
        await asyncio.gather(*(client.get(b"k") for _ in range(10)))
    assert only.asked(Method.AUTHENTICATE) == 2


@in_virtual_time
async def test_a_new_token_that_is_refused_too_is_not_replaced_for_ever() -> None:
    only = member(1, Failure.TOKEN_REFUSED)
    only.authenticates = deque([token("t")])
    async with client_of(only, user="flannel", timeout=5) as client:
        error = await failure(client.get(b"k"))
    assert isinstance(error, StoreUnavailable)
    assert only.asked(Method.RANGE) == 2


@in_virtual_time
async def test_a_wrong_password_is_told_at_once_and_asked_once() -> None:
    only = member(1, FOUND)
    only.authenticates = deque([Failure.WRONG_PASSWORD])
    async with client_of(only, user="flannel", timeout=5) as client:
        error = await failure(client.get(b"k"))
    assert isinstance(error, ConfigError)
    assert error.key == "password"
    assert len(only.calls) == 1


@pytest.mark.parametrize("step", [Failure.UNANSWERED, HANG])
@in_virtual_time
async def test_an_unanswered_authenticate_leaves_the_write_unsent(step: Failure | float) -> None:
    first, other = member(1, DONE), member(2, DONE)
    first.authenticates, other.authenticates = deque([step]), deque([token("t")])
    async with client_of(first, other, user="flannel", timeout=2) as client:
        await client.put(b"k", b"v")
    assert first.asked(Method.TXN) == 0
    assert other.asked(Method.TXN) == 1


# -- ending ------------------------------------------------------------------------


@in_virtual_time
async def test_closing_ends_what_waits_for_a_member() -> None:
    only = member(1, FOUND, connects=[None, Failure.NOT_CONNECTED])
    async with client_of(only, timeout=60) as client:
        await client.get(b"k")
        waiting = asyncio.create_task(failure(client.get(b"k")))
        await asyncio.sleep(0)
        await client.aclose()
        async with asyncio.timeout(1):
            assert isinstance(await waiting, StoreUnavailable)


class Refusing(Member):
    """A member that works once, and from then on takes 300 ms to refuse a connection."""

    async def connect(self, timeout: float) -> None:
        self.connected += 1
        if self.connected > 1:
            await asyncio.sleep(min(timeout, 0.3))
            late = timeout < 0.3
            detail = "no answer came in time" if late else "Connection refused"
            raise CallFailed(Failure.NOT_CONNECTED, detail)


@in_virtual_time
async def test_a_last_attempt_without_time_does_not_hide_why_the_others_failed() -> None:
    only = Refusing(member(1).endpoint, steps=deque([FOUND]))
    async with client_of(only, timeout=1.5) as client:
        await client.get(b"k")
        said = {str(await failure(client.get(b"k"))) for _ in range(100)}
    assert only.connected > 200, "each has some attempts"
    assert len(said) == 1, said
    assert "Connection refused" in said.pop()


@pytest.mark.parametrize("connects", [[None], [HANG]])
@in_virtual_time
async def test_a_call_can_be_cancelled_while_it_waits(connects: list[float | None]) -> None:
    async with client_of(member(1, HANG, connects=[*connects]), timeout=60) as client:
        waiting = asyncio.create_task(client.get(b"k"))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@in_virtual_time
async def test_a_caller_that_is_cancelled_while_it_authenticates_lets_the_next_one_in() -> None:
    only = member(1, FOUND)
    only.authenticates = deque([HANG, token("t")])
    async with client_of(only, user="flannel", timeout=60) as client:
        first = asyncio.create_task(client.get(b"k"))
        second = asyncio.create_task(client.get(b"k"))
        await asyncio.sleep(0.01)
        first.cancel()
        async with asyncio.timeout(1):
            await second
        with pytest.raises(asyncio.CancelledError):
            await first
