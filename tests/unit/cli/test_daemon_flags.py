"""flanneld's flags and variables, and what becomes of them (flannel 1.1)."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from flannel_sdk import __version__
from flannel_sdk.agent import AgentOptions, FirewallOptions, HealthOptions, InterfaceRequest
from flannel_sdk.cli import main
from flannel_sdk.errors import PluginError
from flannel_sdk.model import IPAddress
from tests.unit.cli.standin import MEMORY, StandInAgent, options_of

FIREWALL = FirewallOptions(iptables_forward_rules=True)
DEFAULT = AgentOptions(
    subnet_file=Path("/run/flannel/subnet.env"),
    status_socket=Path("/run/flannel/flannel-sdk.sock"),
    interface_patience=10.0,
    firewall=FIREWALL,
)
"""What flanneld does without a flag."""


Fire = partial(FirewallOptions, iptables_forward_rules=True)
"""As a daemon has it."""


def asked(request: InterfaceRequest) -> AgentOptions:
    return replace(DEFAULT, interface=request)


def fire(firewall: FirewallOptions) -> AgentOptions:
    return replace(DEFAULT, firewall=firewall)


def ip(text: str) -> IPAddress:
    return IPAddress.parse(text)


TABLE: list[tuple[str, Mapping[str, str], AgentOptions]] = [
    ("", {}, DEFAULT),
    # one dash or two, = or the next word
    ("--iface eth0", {}, asked(InterfaceRequest(("eth0",)))),
    ("-iface eth0", {}, asked(InterfaceRequest(("eth0",)))),
    ("--iface=eth0", {}, asked(InterfaceRequest(("eth0",)))),
    ("-iface=eth0", {}, asked(InterfaceRequest(("eth0",)))),
    # a list is given flag by flag, in order
    ("-iface=eth1 --iface 192.0.2.1", {}, asked(InterfaceRequest(("eth1", "192.0.2.1")))),
    ("--iface eth0,eth1", {}, asked(InterfaceRequest(("eth0,eth1",)))),
    ("-iface-regex ^eth -iface-regex=-x", {}, asked(InterfaceRequest(regexes=("^eth", "-x")))),
    # whatever the next word looks like, it is the value
    ("--iface-regex -eth", {}, asked(InterfaceRequest(regexes=("-eth",)))),
    ("-iface-can-reach 192.0.2.7", {}, asked(InterfaceRequest(can_reach=ip("192.0.2.7")))),
    ("--public-ip 192.0.2.1", {}, asked(InterfaceRequest(public_ip=ip("192.0.2.1")))),
    ("--public-ipv6=2001:db8::1", {}, asked(InterfaceRequest(public_ipv6=ip("2001:db8::1")))),
    # of other flags the last counts
    (
        "--public-ip 192.0.2.1 -public-ip=192.0.2.2",
        {},
        asked(InterfaceRequest(public_ip=ip("192.0.2.2"))),
    ),
    ("--iface-patience=inf", {}, replace(DEFAULT, interface_patience=math.inf)),
    ("--subnet-file /x/y.env", {}, replace(DEFAULT, subnet_file=Path("/x/y.env"))),
    ("--subnet-file=", {}, replace(DEFAULT, subnet_file=None)),
    ("-subnet-lease-renew-margin 90", {}, replace(DEFAULT, renew_margin=5400.0)),
    ("-subnet-lease-renew-margin=0x10", {}, replace(DEFAULT, renew_margin=960.0)),
    # yes or no
    ("--ip-masq", {}, fire(Fire(ip_masq=True))),
    ("-ip-masq", {}, fire(Fire(ip_masq=True))),
    ("--ip-masq=true", {}, fire(Fire(ip_masq=True))),
    ("-ip-masq=T", {}, fire(Fire(ip_masq=True))),
    ("--ip-masq=0", {}, DEFAULT),
    ("--ip-masq -ip-masq=false", {}, DEFAULT),
    (
        "-ip-masq -iface eth0",
        {},
        replace(fire(Fire(ip_masq=True)), interface=InterfaceRequest("eth0")),
    ),
    ("--ip-masq-fully-random-disable", {}, fire(Fire(ip_masq_fully_random_disable=True))),
    ("--iptables-forward-rules=false", {}, fire(FirewallOptions())),
    ("--iptables-resync 30", {}, fire(Fire(iptables_resync=30.0))),
    ("--firewall iptables", {}, fire(Fire(kind="iptables"))),
    ("--ip-blackhole-route", {}, replace(DEFAULT, ip_blackhole_route=True)),
    ("-healthz-port 8080", {}, replace(DEFAULT, health=HealthOptions(port=8080))),
    ("-healthz-ip=::1 -healthz-port=1", {}, replace(DEFAULT, health=HealthOptions("::1", 1))),
    ("--status-socket=", {}, replace(DEFAULT, status_socket=None)),
    # what says nothing about the agent
    ("-v 4 -vmodule=vxlan*=2 -log_backtrace_at x.go:7", {}, DEFAULT),
    ("--v=2 --log-format json", {}, DEFAULT),
    ("-v", {}, DEFAULT),
    # variables, where the command line leaves it open
    ("", {"FLANNELD_IFACE": "eth0"}, asked(InterfaceRequest(("eth0",)))),
    ("", {"FLANNELD_IFACE": "eth0,eth1"}, asked(InterfaceRequest(("eth0,eth1",)))),
    ("-iface eth1", {"FLANNELD_IFACE": "eth0"}, asked(InterfaceRequest(("eth1",)))),
    ("", {"FLANNELD_IFACE_REGEX": "a|b"}, asked(InterfaceRequest(regexes=("a|b",)))),
    ("", {"FLANNELD_PUBLIC_IP": "192.0.2.1"}, asked(InterfaceRequest(public_ip=ip("192.0.2.1")))),
    ("", {"FLANNELD_PUBLIC_IP": ""}, DEFAULT),
    ("", {"FLANNELD_IP_MASQ": "true"}, fire(Fire(ip_masq=True))),
    ("-ip-masq=false", {"FLANNELD_IP_MASQ": "true"}, DEFAULT),
    ("", {"FLANNELD_IPTABLES_FORWARD_RULES": "F"}, fire(FirewallOptions())),
    ("", {"FLANNELD_SUBNET_LEASE_RENEW_MARGIN": "90"}, replace(DEFAULT, renew_margin=5400.0)),
    ("", {"FLANNELD_HEALTHZ_PORT": "10244"}, replace(DEFAULT, health=HealthOptions(port=10244))),
    ("", {"FLANNELD_V": "2", "FLANNELD_LOG_BACKTRACE_AT": "x.go:7"}, DEFAULT),
    ("", {"FLANNELD_VERSION": "true", "FLANNELD_NO_SUCH_FLAG": "1", "IFACE": "eth9"}, DEFAULT),
]


@pytest.mark.parametrize(("line", "environ", "options"), TABLE)
def test_a_command_line_becomes_options(
    agent: type[StandInAgent],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    environ: Mapping[str, str],
    options: AgentOptions,
) -> None:
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text)
    assert options_of(agent, *line.split()) == options


WRONG: list[tuple[list[str], Mapping[str, str], str]] = [
    (["--no-such-flag"], {}, "no such option: --no-such-flag"),
    (["-no-such-flag=1"], {}, "no such option: --no-such-flag"),
    (["--iface"], {}, "argument --iface: expected one argument"),
    (["eth0"], {}, "more arguments than it takes"),
    (["--ip-masq", "false"], {}, "a flag of yes or no takes its value with a ="),
    (["--ip-masq=maybe"], {}, "--ip-masq has to be true or false, not 'maybe'"),
    (["--public-ip", "eth0"], {}, "--public-ip has to be an IP address, not 'eth0'"),
    (
        ["--public-ip", "2001:db8::1"],
        {},
        "public-ip is '2001:db8::1', which is not an IPv4 address",
    ),
    (["--public-ip", "127.0.0.1"], {}, "public-ip is 127.0.0.1, which is no unicast address"),
    (["--public-ipv6", "::1"], {}, "public-ipv6 is ::1, which is no unicast address"),
    (["--iface-can-reach", "example.com"], {}, "--iface-can-reach has to be an IP address"),
    (["--iface-regex", "("], {}, "iface-regex '(' is no regular expression"),
    (["--subnet-lease-renew-margin", "soon"], {}, "--subnet-lease-renew-margin has to be a number"),
    (["--subnet-lease-renew-margin", "1440"], {}, "more than 0 and less than 1440"),
    (["--subnet-lease-renew-margin", "nan"], {}, "more than 0 and less than 1440"),
    (["--iptables-resync", "0"], {}, "iptables-resync is 0 seconds"),
    (["--iface-patience", "-1"], {}, "iface-patience is -1 seconds"),
    (["--healthz-port", "65536"], {}, "healthz-port is 65536"),
    (["--healthz-port", "http"], {}, "--healthz-port has to be a number, not 'http'"),
    (["--firewall", "pf"], {}, "--firewall has to be one of auto, nftables, iptables, not 'pf'"),
    (["--log-format", "xml"], {}, "--log-format has to be one of text, json, not 'xml'"),
    (["-v=-1"], {}, "v is -1"),
    ([], {"FLANNELD_V": "much"}, "FLANNELD_V has to be a number, not 'much'"),
    ([], {"FLANNELD_IP_MASQ": "maybe"}, "FLANNELD_IP_MASQ has to be true or false, not 'maybe'"),
    ([], {"FLANNELD_IFACE_REGEX": "("}, "FLANNELD_IFACE_REGEX: iface-regex '(' is no regular"),
    ([], {"FLANNELD_PUBLIC_IPV6": "192.0.2.1"}, "FLANNELD_PUBLIC_IPV6: public-ipv6 is '192.0.2.1'"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case[2])
def test_what_cannot_be_meant_is_one_sentence_and_code_2(
    agent: type[StandInAgent],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[list[str], Mapping[str, str], str],
) -> None:
    words, environ, said = case
    for variable, text in environ.items():
        monkeypatch.setenv(variable, text)
    assert main([*MEMORY, *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("flannel-sdk")
    assert err.count("\n") == 1
    assert agent.options is None


FLANNELDS_FLAGS = (
    *("iface", "iface-regex", "iface-can-reach", "subnet-file", "public-ip", "public-ipv6"),
    *("subnet-lease-renew-margin", "ip-masq", "ip-masq-fully-random-disable", "kube-subnet-mgr"),
    *("healthz-ip", "healthz-port", "iptables-resync", "iptables-forward-rules"),
    *("ip-blackhole-route", "v", "vmodule", "log_backtrace_at"),
)
STORES_FLAGS = {
    "etcd": (
        *("etcd-endpoints", "etcd-prefix", "etcd-keyfile", "etcd-certfile", "etcd-cafile"),
        *("etcd-username", "etcd-password"),
    ),
    "kube": (
        *("kube-api-url", "kubeconfig-file", "kube-annotation-prefix", "net-config-path"),
        "set-node-network-unavailable",
    ),
}


@pytest.mark.parametrize("flag", ["--version", "-version"])
def test_the_version(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert main(["daemon", flag]) == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_is_no_error(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert main(["daemon", *MEMORY[1:], flag]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for name in FLANNELDS_FLAGS:
        assert f"--{name} " in out
    assert "(default: 60)" in out
    assert "(default: /run/flannel/subnet.env)" in out
    assert "(default: true)" in out


def unused(store: str) -> list[str]:
    """The flags of flanneld's other store, each with a value."""
    return [
        f"-{flag}=true" for other in STORES_FLAGS if other != store for flag in STORES_FLAGS[other]
    ]


@pytest.mark.parametrize(
    ("words", "store"),
    [
        ([], "etcd"),
        (["-kube-subnet-mgr=false"], "etcd"),
        (["-etcd-prefix", "/x"], "etcd"),
        (["-kube-subnet-mgr", "-kube-api-url", "http://127.0.0.1:1"], "kube"),
    ],
)
def test_flannelds_command_lines_find_its_store_and_leave_the_others_flags_unused(
    agent: type[StandInAgent],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    words: list[str],
    store: str,
) -> None:
    monkeypatch.setenv("NODE_NAME", "n1")
    options = options_of(agent, *words, *unused(store), command=["daemon"])
    assert options == DEFAULT
    assert agent.store is not None
    assert agent.store.name.startswith(store)
    for flag in unused(store):
        assert f"-{flag.partition('=')[0]} has no effect on the store {store}" in caplog.text


@pytest.mark.parametrize(("words", "hint"), [([], True), (["--store", "etcd"], False)])
def test_where_flannelds_store_is_not_installed_the_others_are_pointed_at(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    hint: bool,
) -> None:
    def find(name: str) -> NoReturn:
        raise PluginError(f"store {name} is not installed")

    monkeypatch.setattr("flannel_sdk.cli.store_arguments.find_store", find)
    assert main(["daemon", *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("flannel-sdk: store etcd is not installed")
    assert ("or choose another with --store" in err) == hint


def test_a_store_named_our_way_takes_its_own_flags_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*MEMORY, "--etcd-prefix", "/x"]) == 2
    assert "no such option: --etcd-prefix (the store is memory" in capsys.readouterr().err
