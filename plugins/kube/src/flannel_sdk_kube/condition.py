"""The condition by which a cluster knows that a node's network is there (5.7)."""

import time


def network_available(now: float) -> dict[str, object]:
    """``NetworkUnavailable`` is False, as flanneld says it; ``now`` is Unix time.

    One condition of ``status.conditions``, which a strategic merge patch merges by its type.
    """
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    return {
        "type": "NetworkUnavailable",
        "status": "False",
        "lastHeartbeatTime": moment,
        "lastTransitionTime": moment,
        "reason": "FlannelIsUp",
        "message": "Flannel is running on this node",
    }
