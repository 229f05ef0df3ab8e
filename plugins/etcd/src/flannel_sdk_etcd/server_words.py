"""What etcd's own words mean, which it keeps over its releases: in errors and in ended watches."""

from flannel_sdk_etcd.transport import Failure

_WORDS = (
    ("authentication failed", Failure.WRONG_PASSWORD),
    ("invalid auth token", Failure.TOKEN_REFUSED),
    ("revision of auth store is old", Failure.TOKEN_REFUSED),
    ("user name is empty", Failure.TOKEN_REFUSED),
    ("permission denied", Failure.FORBIDDEN),
    ("database space exceeded", Failure.NO_SPACE),
    ("has been compacted", Failure.COMPACTED),
    ("requested lease not found", Failure.NOT_FOUND),
    ("etcdserver: no leader", Failure.NO_LEADER),
)


def failure_in(words: str) -> Failure | None:
    """The failure that ``words`` of a server tell; None if they tell none that is known."""
    return next((failure for known, failure in _WORDS if known in words), None)
