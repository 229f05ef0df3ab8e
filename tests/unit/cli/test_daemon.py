"""``flannel-sdk daemon``: its flags as an agent's options, its signals and its end."""

import asyncio
import logging
import signal
from pathlib import Path

import pytest

from flannel_sdk.agent import AgentOptions, FirewallOptions, InterfaceRequest
from flannel_sdk.cli import main
from flannel_sdk.errors import InterfaceUnavailable, StoreUnavailable
from flannel_sdk.model import IPAddress
from flannel_sdk.stores.manager import EmbeddedSubnetManager
from tests.unit.cli.standin import MEMORY, StandInAgent, fail_with, interrupt, options_of


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent_and_closes_the_store(
    agent: type[StandInAgent], number: signal.Signals
) -> None:
    agent.body = staticmethod(interrupt(number))
    assert main(MEMORY) == 0
    assert agent.cancelled
    assert isinstance(agent.store, EmbeddedSubnetManager)
    with pytest.raises(StoreUnavailable, match="is closed"):
        asyncio.run(agent.store.get_network_config())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_error_of_the_agent_is_one_sentence_and_code_1(
    agent: type[StandInAgent], capsys: pytest.CaptureFixture[str]
) -> None:
    agent.body = staticmethod(fail_with(InterfaceUnavailable("there is no eth7")))
    assert main(MEMORY) == 1
    assert capsys.readouterr().err == "flannel-sdk: there is no eth7\n"
    assert isinstance(agent.store, EmbeddedSubnetManager)
    with pytest.raises(StoreUnavailable, match="is closed"):
        asyncio.run(agent.store.get_network_config())


def test_flags_become_the_agents_options(agent: type[StandInAgent]) -> None:
    options = options_of(
        agent,
        *("--iface", "eth1", "--public-ip", "192.0.2.1", "--public-ipv6", "2001:db8::1"),
        *("--subnet-file", "/x/subnet.env", "--status-socket", "/x/s.sock"),
        *("--subnet-lease-renew-margin", "0.5"),
    )
    assert options == AgentOptions(
        interface=InterfaceRequest(
            "eth1",
            public_ip=IPAddress.parse("192.0.2.1"),
            public_ipv6=IPAddress.parse("2001:db8::1"),
        ),
        subnet_file=Path("/x/subnet.env"),
        status_socket=Path("/x/s.sock"),
        renew_margin=30.0,
        interface_patience=10.0,
        firewall=FirewallOptions(iptables_forward_rules=True),
    )


def test_without_flags_they_are_flannels(agent: type[StandInAgent]) -> None:
    assert options_of(agent) == AgentOptions(
        subnet_file=Path("/run/flannel/subnet.env"),
        status_socket=Path("/run/flannel/flannel-sdk.sock"),
        renew_margin=3600.0,
        interface_patience=10.0,
        firewall=FirewallOptions(iptables_forward_rules=True),
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--public-ip", "2001:db8::1"], "public-ip is '2001:db8::1', which is not an IPv4"),
        (["--public-ip", "eth0"], "--public-ip has to be an IP address, not 'eth0'"),
        (["--public-ipv6", "192.0.2.1"], "public-ipv6 is '192.0.2.1', which is not an IPv6"),
        (["--subnet-lease-renew-margin", "0"], "more than 0 and less than 1440"),
        (["--store-option", "nothing=1"], "has no option 'nothing'"),
    ],
)
def test_a_wrong_value_ends_it_before_the_agent_is_made(
    agent: type[StandInAgent],
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    said: str,
) -> None:
    assert main([*MEMORY, *flags]) == 2
    assert said in capsys.readouterr().err
    assert agent.options is None


def test_the_last_line_is_json_too_where_that_is_asked_for(
    agent: type[StandInAgent], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    agent.body = staticmethod(fail_with(InterfaceUnavailable("there is no eth7")))
    assert main([*MEMORY, "--log-format=json"]) == 1
    assert capsys.readouterr().err == ""
    assert caplog.messages[-1] == "there is no eth7"
    assert main([*MEMORY, "--log-format=json", "--healthz-port=x"]) == 2
    assert "--healthz-port has to be a number" in caplog.messages[-1]


def test_verbose_is_about_us_and_not_about_libraries_that_log_tokens(
    agent: type[StandInAgent], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options_of(agent, "-v")
    assert logging.getLogger("flannel_sdk").getEffectiveLevel() == logging.DEBUG
    for name in ("grpc", "aiohttp", "requests_oauthlib.oauth2_session", "urllib3.connectionpool"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.INFO


@pytest.mark.parametrize("flags", [["--subnet-lease-renew-margin", "soon"], ["--no-such-flag"]])
def test_d38_wrong_usage_is_code_2(agent: type[StandInAgent], flags: list[str]) -> None:
    assert main([*MEMORY, *flags]) == 2
    assert agent.options is None
