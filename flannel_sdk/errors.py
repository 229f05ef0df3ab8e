"""Every error that flannel_sdk raises on purpose, sorted by what a caller can do about it.

The message of each is one sentence for people: what went wrong, where, and what to do. The
library's own error, where there was one, is the ``__cause__``.
"""


class FlannelError(Exception):
    """Base of all errors of flannel_sdk; raised itself by nothing."""


class RetryableError(FlannelError):
    """It may heal by itself or by others: try again, with back-off."""


class PermanentError(FlannelError):
    """Trying again unchanged gives the same answer: somebody has to change something."""


class ConfigError(PermanentError):
    """A value that somebody configured is wrong; ``key`` names it as its author wrote it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class PluginError(PermanentError):
    """A plugin is unknown, installed twice, broken, or made for another contract version."""


class PrivilegeError(PermanentError):
    """The process lacks a right (mostly CAP_NET_ADMIN) that the operation needs."""


class MalformedEntry(PermanentError):
    """A store entry that is not a lease; it hides itself and nothing else."""


class StoreError(FlannelError):
    """Anything a subnet manager reports."""


class StoreUnavailable(StoreError, RetryableError):
    """The store did not answer; whether a write took effect has been resolved or is said."""


class StoreCorrupt(StoreError, PermanentError):
    """The store answered with something that is not ours to repair; nothing was written."""


class ConfigMissing(StoreError, RetryableError):
    """The store holds no network configuration (yet)."""


class OutOfSubnets(StoreError, RetryableError):
    """Every subnet of the network is leased; heals when a lease ends."""


class LeaseLost(StoreError, RetryableError):
    """The lease is ours no more (deleted, expired, overwritten): acquire one again."""


class InterfaceUnavailable(RetryableError):
    """No network interface on this node fits the request; one may still appear."""


class KernelError(FlannelError):
    """The kernel refused a request; ``errno`` says how."""

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


class KernelRefused(KernelError, RetryableError):
    """A request was refused for a reason that other requests, or time, may remove."""


class KernelUnsupported(KernelError, PermanentError):
    """This kernel lacks what the request needs."""
