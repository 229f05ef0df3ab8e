"""An API server by its URL alone: no credentials, the system's CAs."""

import asyncio

from flannel_sdk_kube.credentials import Access, trusting


class PlainUrl:
    """Credentials that are none: for a proxy that adds them, or an open server."""

    key = "api_url"
    called = "a client without credentials (give a kubeconfig)"
    trusts = "one of the system's"

    def __init__(self, url: str) -> None:
        self.place = self.server = url
        self._access: Access | None = None

    async def current(self) -> Access:
        """See Credentials."""
        if self._access is None:
            tls = None
            if self.place.startswith("https://"):
                tls = await asyncio.to_thread(
                    trusting, self.key, "the system's store of CAs, which api_url relies on,", None
                )
            self._access = Access(self.place, tls)
        return self._access

    async def renewed(self, refused: Access) -> Access | None:
        """See Credentials."""
        return None
