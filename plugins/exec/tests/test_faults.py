"""What goes wrong with a program: each is one sentence with its name, and the right class."""

import asyncio
import sys
from pathlib import Path

import pytest

from flannel_sdk.errors import ConfigError, PermanentError, RetryableError
from flannel_sdk.testing.scripted import ScriptedFeed
from plugins.exec.tests.site import ACTOR, Site, peer
from tests.overlay import running, told

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def at(kind: str, script: str) -> str:
    """Do this when such a message comes."""
    return f'if message["type"] == {kind!r}:\n    answered = True\n    {script}'


REGISTERING = [
    ("register", "sys.exit(3)", "ended with exit code 3"),
    ("register", "print('no key', file=sys.stderr); sys.exit(1)", "exit code 1: no key"),
    ("register", "os.kill(os.getpid(), 9)", "signal 9 ended it"),
    ("register", "os.close(1); time.sleep(100)", "it closed its standard output"),
    ("register", "time.sleep(100)", "it said nothing for 1 s, and publish was due"),
    ("register", "print('x' * 1_100_000)", "it wrote a line of more than 1048576 bytes"),
    ("register", "say(type='ack', id=1)", "it wrote 'ack', and nothing like it was due"),
    ("register", "say(type='publish')", "its publish has no protocol that is a number"),
    ("register", "say(type='publish', protocol=1, backend_type=7)", "a backend_type that is no"),
    ("register", "say(type='publish', protocol=1, backend_data={'x': 1})", "has a backend_data"),
    ("register", "say(type='error', message='busy')", "python: busy"),
    ("lease", "say(type='registered', mtu='1500')", "its registered has no mtu that is a number"),
    ("lease", "sys.exit(4)", "ended with exit code 4"),
]


@pytest.mark.parametrize(("kind", "script", "problem"), REGISTERING)
async def test_registering_may_be_tried_again(
    site: Site, kind: str, script: str, problem: str
) -> None:
    with pytest.raises(RetryableError, match=problem) as caught:
        await site.register(at(kind, script), Timeout=1 if "1 s" in problem else 30)
    assert str(caught.value).startswith(f"the backend's program {sys.executable}")
    assert "\n" not in str(caught.value)


PERMANENT = [
    ("register", "say(type='publish', protocol=2)", "it speaks version 2 .* upgrade flannel-sdk-"),
    ("register", "say(type='publish', protocol=0)", "it speaks version 0 .* upgrade it"),
    ("register", "say(type='error', message='no licence', retryable=False)", "no licence"),
    ("lease", "say(type='registered', mtu=9000)", "9000 bytes, .* between 68 and 1500, .* eth0"),
    ("lease", "say(type='registered', mtu=10)", "10 bytes, .* between 68 and 1500"),
]


@pytest.mark.parametrize(("kind", "script", "problem"), PERMANENT)
async def test_somebody_has_to_change_something(
    site: Site, kind: str, script: str, problem: str
) -> None:
    with pytest.raises(PermanentError, match=problem):
        await site.register(at(kind, script))


async def test_a_program_can_name_the_option_that_is_wrong(site: Site) -> None:
    script = "say(type='error', option='Colour', message='Colour has to be red or blue')"
    with pytest.raises(ConfigError, match="Colour has to be red") as caught:
        await site.register(at("register", script), Colour="green")
    assert caught.value.key == "Backend.Colour"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("sys.exit(5)", "exit code 5"),
        ("say(type='ack', id=9)", "its ack has not the id 1"),
        ("say(type='ack', id=1, refused=[{}])", "refused entry without a peer or a reason"),
        ("time.sleep(100)", "it said nothing for 3 s, and ack was due"),
        ("say(type='error', message='link lost')", "link lost"),
    ],
)
async def test_a_run_ends_and_can_be_run_again_with_the_full_set(
    site: Site, script: str, problem: str
) -> None:
    # life 0 registers, life 1 fails, life 2 works
    do = f"if life == 1 and message['type'] == 'update':\n    answered = True\n    {script}"
    network = await site.register(do, Timeout=3 if "3 s" in problem else 30)
    feed = ScriptedFeed()
    telling = asyncio.create_task(feed.full([peer(2)]))
    with pytest.raises(RetryableError, match=problem):
        await network.run(feed)
    telling.cancel()
    await asyncio.wait([telling])
    async with running(network) as feed:
        await feed.full([peer(2), peer(3)])
        assert told(network, "peers", "known") == 2
    assert [update["full"] for update in site.updates()] == [True, True]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (None, "is missing"),
        ([], "is missing"),
        (7, "has to be a list of strings"),
        (["x", 7], "has to be a list of strings"),
        ([" "], "is no command"),
        ("  ", "is no command"),
        ("a\0b", "is no command"),
        (["/nowhere/program"], "'/nowhere/program', which this node cannot run"),
    ],
)
async def test_what_is_no_command_is_said(site: Site, command: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        await site.register(Command=command)
    assert caught.value.key == "Backend.Command"


async def test_a_text_is_the_shells(site: Site) -> None:
    network = await site.register(Command=f"exec 2>&1; true && exec {' '.join(ACTOR)}")
    assert network.mtu == 1400


async def test_a_file_that_is_no_program_is_said(site: Site, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("no format")
    broken.chmod(0o755)
    with pytest.raises(RetryableError, match="cannot be started: Exec format error"):
        await site.register(Command=[str(broken)])
