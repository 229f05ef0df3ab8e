"""Gets a request to a member that answers it: who is asked, how often, and for how long."""

from typing import TypeVar

from google.protobuf.message import Message

from flannel_sdk.backoff import Backoff
from flannel_sdk.errors import FlannelError, StoreUnavailable
from flannel_sdk_etcd.auth import Authentication
from flannel_sdk_etcd.clock import loop_time
from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.errors import OutcomeUnknown
from flannel_sdk_etcd.members import Members, NoMember
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.sentences import sentence, store_error
from flannel_sdk_etcd.transport import CallFailed, Connection, Failure, Method, Transport

AnswerT = TypeVar("AnswerT", bound=Message)

_NOT_DONE = {Failure.NOT_CONNECTED, Failure.UNTRUSTED, Failure.NO_LEADER}
"""The request had no effect, and another member may do it."""


class Calls:
    """Requests to a cluster. All that they raise is a StoreError or a ConfigError.

    A PermanentError only as long as nothing has worked: later it may be a rotation in progress.
    """

    def __init__(self, options: EtcdOptions, transport: Transport) -> None:
        self.members = Members(transport, options.members())
        self._user = options.user
        self._timeout = options.timeout
        self._auth = Authentication(options.user, options.password)

    async def ask(self, method: Method, request: Message, answer: type[AnswerT]) -> AnswerT:
        """A request that may be repeated: it is, on any member, until one answers or time is up."""
        return await self._perform(method, request, answer, may_repeat=True)

    async def tell(self, method: Method, request: Message, answer: type[AnswerT]) -> AnswerT:
        """A request that is sent once. OutcomeUnknown if it may have been carried out."""
        return await self._perform(method, request, answer, may_repeat=False)

    async def connected(self) -> tuple[Connection, str | None]:
        """The preferred member, connected, and a token where users are authenticated."""
        deadline = loop_time() + self._timeout
        connection = await self._member(deadline)
        try:
            return connection, await self._token(connection, deadline)
        except CallFailed as error:
            self.members.failed(connection)
            raise self._error({connection.endpoint: error}) from error

    def failed(self, connection: Connection, error: CallFailed) -> StoreUnavailable:
        """What somebody who used ``connected`` found out about it; gives the sentence for it."""
        if error.failure is Failure.TOKEN_REFUSED:
            self._auth.forget()
        else:
            self.members.failed(connection)
        return StoreUnavailable(sentence({connection.endpoint: error}, self._user))

    async def _perform(
        self, method: Method, request: Message, answer: type[AnswerT], *, may_repeat: bool
    ) -> AnswerT:
        deadline = loop_time() + self._timeout
        backoff = Backoff(0.05, 1.0)
        failures: dict[Endpoint, CallFailed] = {}
        may_authenticate = self._user is not None
        while True:
            connection = await self._member(deadline)
            token = None
            try:
                token = await self._token(connection, deadline)
                share = self._share(deadline, may_repeat=may_repeat)
                found = await connection.call(method, request, token=token, timeout=share)
            except CallFailed as error:
                failures[connection.endpoint] = error.with_traceback(None)
                if error.failure is Failure.TOKEN_REFUSED and may_authenticate:
                    may_authenticate = False
                    self._auth.refused(token)
                    continue
                self._judge(connection, error, may_repeat=may_repeat)
                if not await self.members.pause(backoff.next_delay(), deadline):
                    raise self._error(failures) from error
            else:
                self.members.has_worked = True
                self.members.heard()
                assert isinstance(found, answer)
                return found

    def _judge(self, connection: Connection, error: CallFailed, *, may_repeat: bool) -> None:
        """Return if the request is to be repeated; raise what its caller has to know."""
        only = {connection.endpoint: error}
        if error.failure is Failure.UNANSWERED:
            self.members.failed(connection)
            if not may_repeat:
                raise OutcomeUnknown(
                    f"Whether a write took effect is not known: {sentence(only, self._user)}"
                ) from error
        elif error.failure in _NOT_DONE:
            self.members.failed(connection)
        else:
            if error.failure is Failure.TOKEN_REFUSED:
                self._auth.forget()
            raise self._error(only) from error

    async def _member(self, deadline: float) -> Connection:
        try:
            return await self.members.connected(deadline)
        except NoMember as none:
            raise self._error(none.failures) from next(iter(none.failures.values()))

    async def _token(self, connection: Connection, deadline: float) -> str | None:
        try:
            return await self._auth.token(connection, self._share(deadline, may_repeat=True))
        except CallFailed as error:
            if error.failure is not Failure.UNANSWERED:
                raise
            # Authenticating may be repeated, and the request itself was not sent.
            raise CallFailed(
                Failure.NOT_CONNECTED, f"authenticating failed: {error.detail}"
            ) from error

    def _share(self, deadline: float, *, may_repeat: bool) -> float:
        """Of the time that is left: some stays for another member, where another may be asked."""
        left = max(0.001, deadline - loop_time())
        return left / 2 if may_repeat and not self.members.is_single else left

    def _error(self, failures: dict[Endpoint, CallFailed]) -> FlannelError:
        return store_error(failures, self._user, has_worked=self.members.has_worked)
