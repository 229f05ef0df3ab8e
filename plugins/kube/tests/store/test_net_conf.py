"""The configuration's file: validated, and followed whatever way it is replaced."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
from flannel_sdk_kube import net_conf
from flannel_sdk_kube.net_conf import LOOK_SECONDS, read_net_conf, watch_net_conf

from flannel_sdk.errors import ConfigError, ConfigMissing
from flannel_sdk.model import NetworkConfig
from flannel_sdk.testing.waiting import eventually


def document(number: int, backend: str = "vxlan") -> str:
    return f'{{"Network":"10.{number}.0.0/16","Backend":{{"Type":"{backend}"}}}}'


def _is(config: NetworkConfig, number: int) -> bool:
    return config.pools.ipv4 is not None and str(config.pools.ipv4.network) == f"10.{number}.0.0/16"


async def _next(watch: AsyncGenerator[NetworkConfig, None]) -> NetworkConfig:
    return await asyncio.wait_for(anext(watch), 10)


def config_map(folder: Path, version: int, text: str) -> None:
    """What a kubelet does: a new directory, and a link to it that is replaced."""
    fresh = folder / f"..{version}"
    fresh.mkdir(parents=True)
    (fresh / "net-conf.json").write_text(text)
    link = folder / "..data_tmp"
    link.symlink_to(fresh.name)
    link.replace(folder / "..data")
    file = folder / "net-conf.json"
    if not file.is_symlink():
        file.symlink_to("..data/net-conf.json")


def put(file: Path, text: str) -> None:
    """At once, not as an empty file first."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """How often the file was read."""
    made: list[Path] = []
    read = net_conf._read

    def counted(path: Path) -> bytes:
        document = read(path)
        made.append(path)
        return document

    monkeypatch.setattr(net_conf, "_read", counted)
    return made


async def test_a_config_map_is_followed(tmp_path: Path, reads: list[Path]) -> None:
    folder = tmp_path / "config"
    async with aclosing(watch_net_conf(folder / "net-conf.json", 0.01)) as watch:
        waiting = asyncio.ensure_future(_next(watch))
        await asyncio.sleep(0.03)  # it is waited for, if it was not there at first
        config_map(folder, 1, document(1))
        assert _is(await waiting, 1)
        config_map(folder, 2, document(2))
        assert _is(await _next(watch), 2)
        waiting = asyncio.ensure_future(_next(watch))
        config_map(folder, 3, document(2))  # the same once more
        await eventually(lambda: len(reads) == 3, "read")
        config_map(folder, 4, document(4))
        assert _is(await waiting, 4)


async def test_wrong_ones_are_passed_over_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reads: list[Path]
) -> None:
    file = tmp_path / "net-conf.json"
    file.write_text(document(1))
    async with aclosing(watch_net_conf(file, 0.01)) as watch:
        assert _is(await _next(watch), 1)
        waiting = asyncio.ensure_future(_next(watch))
        put(file, "{")
        await eventually(lambda: "is not valid JSON" in caplog.text, "the first is said")
        put(file, "{")
        await eventually(lambda: len(reads) == 3, "the same once more")
        file.unlink()
        file.mkdir()
        await eventually(lambda: "Is a directory" in caplog.text, "the second is said")
        file.rmdir()
        put(file, "{}")
        await eventually(lambda: "Network of the" in caplog.text, "the third is said")
        put(file, document(3))
        assert _is(await waiting, 3)
    assert caplog.text.count("is not valid JSON") == 1
    assert caplog.text.count("Is a directory") == 1


async def test_a_look_costs_next_to_nothing(tmp_path: Path, reads: list[Path]) -> None:
    file = tmp_path / "net-conf.json"
    file.write_text(document(1))
    async with aclosing(watch_net_conf(file, 0.0)) as watch:
        assert _is(await _next(watch), 1)
        before, looks = time.process_time(), 0
        waiting = asyncio.ensure_future(anext(watch))
        while looks < 1000:
            await asyncio.sleep(0)
            looks += 1
        assert time.process_time() - before < 0.5
        assert len(reads) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert LOOK_SECONDS >= 1


async def test_what_is_wrong_is_said_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "net-conf.json"
    for missing in (file, tmp_path / "no" / "where", Path("/dev/null/x")):
        with pytest.raises(ConfigMissing, match=f"{missing} does not exist"):
            await read_net_conf(missing)
    file.write_text('{"Network":"10.3.0.0/16","SubnetLen":31}')
    with pytest.raises(ConfigError, match=f"^{file}: SubnetLen of the network") as caught:
        await read_net_conf(file)
    assert caught.value.key == "SubnetLen"
    file.write_bytes(b" " * 1_100_000)
    with pytest.raises(ConfigError, match="too long"):
        await read_net_conf(file)
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "which is no file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/null"), "which is no file"),
        (Path("a\0b"), "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            await asyncio.wait_for(read_net_conf(path), 5)
        assert caught.value.key == "net_config_path"
