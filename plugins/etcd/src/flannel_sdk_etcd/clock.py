"""The clock that deadlines are of."""

import asyncio


def loop_time() -> float:
    """The running event loop's: seconds that only go forward."""
    return asyncio.get_running_loop().time()
