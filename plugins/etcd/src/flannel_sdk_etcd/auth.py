"""The auth token: asked for by one caller at a time, shared by all, and forgotten when refused."""

import asyncio

from flannel_sdk.model import Secret
from flannel_sdk_etcd.clock import loop_time
from flannel_sdk_etcd.schema import AuthenticateRequest, AuthenticateResponse
from flannel_sdk_etcd.transport import CallFailed, Connection, Failure, Method

_AUTH_IS_OFF = "authentication is not enabled"


class Authentication:
    """The token of one user of a cluster; without a user there is none."""

    def __init__(self, user: str | None, password: Secret | None) -> None:
        self._user = user
        self._password = password
        self._token: str | None = None
        self._is_known = user is None
        self._lock = asyncio.Lock()

    async def token(self, connection: Connection, timeout: float) -> str | None:
        """A token, fetched through ``connection`` if there is none; None where none is needed.

        CallFailed as of any call; WRONG_PASSWORD if the user or the password is not etcd's.
        """
        if self._is_known:
            return self._token
        deadline = loop_time() + timeout
        try:
            async with asyncio.timeout(timeout):
                await self._lock.acquire()
        except TimeoutError:
            raise CallFailed(Failure.UNANSWERED, "no answer came in time") from None
        try:
            if not self._is_known:
                self._token = await self._fetched(connection, deadline - loop_time())
                self._is_known = True
        finally:
            self._lock.release()
        return self._token

    def refused(self, token: str | None) -> None:
        """``token`` is not valid (any more). One that was fetched since stays."""
        if token == self._token:
            self.forget()

    def forget(self) -> None:
        """The next caller fetches a token."""
        self._token = None
        self._is_known = self._user is None

    async def _fetched(self, connection: Connection, timeout: float) -> str | None:
        request = AuthenticateRequest(
            name=self._user or "", password=self._password.reveal() if self._password else ""
        )
        try:
            # With the stale token attached etcd would refuse even this.
            answer = await connection.call(
                Method.AUTHENTICATE, request, token=None, timeout=timeout
            )
        except CallFailed as error:
            if _AUTH_IS_OFF in error.detail:
                return None
            raise
        assert isinstance(answer, AuthenticateResponse)
        if not (answer.token.isascii() and answer.token.isprintable()):
            raise CallFailed(Failure.REFUSED, "its auth token cannot be sent back")
        return answer.token
