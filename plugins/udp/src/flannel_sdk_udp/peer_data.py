"""The backend data of a udp lease: flannel has none, ours says when the kernel carries."""

import json

KERNEL_DATA = '{"Datapath":"kernel"}'
"""Of a node whose kernel receives the packets of its peers."""


def says_kernel(text: str | None) -> bool:
    """Whether a peer's backend data says that; any other text, or none, says no."""
    if text is None or text == KERNEL_DATA:
        return text is not None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("Datapath") == "kernel"
