"""What the kernel's errors about bpf(2) and tc mean, in sentences."""

import errno

from flannel_sdk.errors import FlannelError, KernelRefused, PrivilegeError
from flannel_sdk_udp.datapath import DatapathUnsupported
from flannel_sdk_udp.ebpf.syscall import ProgramRefused

RIGHTS = "CAP_NET_ADMIN and CAP_BPF (before Linux 5.8: CAP_SYS_ADMIN)"
_DENIED = frozenset({errno.EPERM, errno.EACCES})
_ABSENT = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOENT, errno.EINVAL})
_MAY_HEAL = frozenset(
    {errno.ENOMEM, errno.ENOBUFS, errno.EMFILE, errno.ENFILE, errno.ENODEV, errno.EBUSY}
)


def impossible(doing: str, error: OSError) -> FlannelError:
    """The error for what was refused when first tried; ``doing`` completes ``cannot ...``."""
    if isinstance(error, ProgramRefused):
        return DatapathUnsupported(
            "this kernel does not accept our eBPF programs, which need Linux 5.12 or newer"
            f" ({error.strerror}: {error.log})"
        )
    if error.errno in _DENIED:
        return DatapathUnsupported(
            f"cannot {doing}: this needs {RIGHTS}, and a kernel that is not locked down"
        )
    if error.errno in _ABSENT:
        return DatapathUnsupported(
            f"cannot {doing}: this kernel was built without eBPF, clsact or its BPF classifier"
            f" ({error.strerror}); Linux 5.12 or newer is needed"
        )
    if error.errno in _MAY_HEAL:
        return refused(doing, error)
    return DatapathUnsupported(f"cannot {doing}: {error.strerror}")


def refused(doing: str, error: OSError) -> FlannelError:
    """The error for what had worked before, or may work later."""
    if error.errno in _DENIED:
        return PrivilegeError(f"cannot {doing}: this needs {RIGHTS}")
    return KernelRefused(f"cannot {doing}: {error.strerror}", error.errno or 0)
