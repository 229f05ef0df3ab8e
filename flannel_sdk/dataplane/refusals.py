"""The one place where the kernel's errno becomes an error of flannel_sdk."""

import errno

from flannel_sdk.errors import (
    FlannelError,
    KernelRefused,
    KernelUnsupported,
    PrivilegeError,
)

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENOSYS}
GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL})
"""What the kernel says when asked to remove something that is not there."""


def refusal(doing: str, number: int, reason: str) -> FlannelError:
    """The error for an errno; ``doing`` completes ``cannot ...``.

    EACCES is not about our rights: the kernel says it of a device without IPv6.
    """
    if number == errno.EPERM:
        return PrivilegeError(f"cannot {doing}: this needs CAP_NET_ADMIN")
    if number in _UNSUPPORTED:
        return KernelUnsupported(f"cannot {doing}: {reason}", number)
    return KernelRefused(f"cannot {doing}: {reason}", number)
