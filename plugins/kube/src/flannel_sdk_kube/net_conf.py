"""The network's configuration: a file, mostly of a ConfigMap, read and followed."""

import asyncio
import logging
import os
import stat
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

from flannel_sdk.errors import ConfigError, ConfigMissing
from flannel_sdk.model import NetworkConfig

_log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
"""Between two looks, of one stat call each: a kubelet takes up to a minute to bring a change."""

_KEY: Final = "net_config_path"
_MOST_BYTES: Final = 1024 * 1024

_Version = tuple[int, ...]


async def read_net_conf(path: Path) -> NetworkConfig:
    """As ``SubnetManager.get_network_config``. flanneld takes what it can decode; we validate."""
    document = await asyncio.to_thread(_read, path)
    try:
        return NetworkConfig.parse(document)
    except ConfigError as error:
        raise ConfigError(error.key, f"{path}: {error}") from error


async def watch_net_conf(
    path: Path,
    every: float = LOOK_SECONDS,
    told_as: Callable[[NetworkConfig], NetworkConfig] = lambda config: config,
) -> AsyncGenerator[NetworkConfig, None]:
    """As ``SupportsConfigWatch.watch_network_config``; a file that is gone says nothing either.

    ``told_as`` makes of a configuration what is told, also again once that is something else.
    The path is looked up anew each time: a ConfigMap's file is a link into a directory that is
    itself a link, which a kubelet replaces.
    """
    seen: _Version | None = None
    newest: NetworkConfig | None = None
    told: NetworkConfig | None = None
    passed_over = ""
    while True:
        version = _version(path)
        if version is not None and version != seen:
            try:
                newest = await read_net_conf(path)
            except ConfigMissing:
                pass  # it is just being replaced
            except ConfigError as error:
                if str(error) != passed_over:
                    passed_over = str(error)
                    _log.warning("a wrong network configuration is passed over: %s", error)
            else:
                passed_over = ""
        seen = version
        if newest is not None and (config := told_as(newest)) != told:
            told = config
            yield config
        await asyncio.sleep(every)


def _version(path: Path) -> _Version | None:
    """What differs once somebody wrote or replaced the file; None while it cannot be seen."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_without_waiting) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise ConfigError(_KEY, f"{_KEY} is {path}, which is no file.")
            document = opened.read(_MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigMissing(
            f"There is no network configuration yet: {path} does not exist (net_config_path)."
        ) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(
            _KEY, f"The network configuration {path} cannot be read: {reason}."
        ) from error
    if len(document) > _MOST_BYTES:
        raise ConfigError(_KEY, f"{_KEY} is {path}, which is too long for a configuration.")
    return document


def _without_waiting(path: str, flags: int) -> int:
    """Opens also a pipe at once, which would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)
