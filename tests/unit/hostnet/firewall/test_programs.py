"""iptables' programs: found by name and version, their failures in a sentence, none at all."""

from pathlib import Path

import pytest

from flannel_sdk.errors import KernelRefused, KernelUnsupported, PermanentError, PrivilegeError
from flannel_sdk.hostnet.firewall import choice, iptables_programs
from flannel_sdk.hostnet.firewall.iptables_programs import find_programs
from flannel_sdk.hostnet.firewall.rules import Addresses, RuleSet
from flannel_sdk.model import ByFamily, Family, Prefix

RULES = RuleSet(
    ByFamily(Addresses(Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.3.0/24"))), masquerade=True
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where programs are found."""
    monkeypatch.setattr(iptables_programs, "_SYSTEM", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str, version: str, restore: str = "cat >/dev/null") -> None:
    for suffix, action in (("", f"echo {version}"), ("-save", "echo"), ("-restore", restore)):
        program = folder / f"{name}{suffix}"
        program.write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{action}\n")
        program.chmod(0o755)


@pytest.mark.parametrize(
    ("said", "variant", "fully_random"),
    [
        ("iptables v1.8.9 '(nf_tables)'", "nf_tables", True),
        ("iptables v1.8.9 '(legacy)'", "legacy", True),
        ("iptables v1.6.2", "legacy", True),
        ("iptables v1.4.21", "legacy", False),
        ("something else", "legacy", False),
    ],
)
def test_the_version_says_what_they_can(
    folder: Path, said: str, variant: str, fully_random: bool
) -> None:
    install(folder, "iptables", said)
    found = find_programs(Family.IPV4)
    assert found is not None
    assert (found.variant, found.fully_random) == (variant, fully_random)


def test_a_variant_is_found_by_its_name_or_as_the_usual_one(folder: Path) -> None:
    assert find_programs(Family.IPV6) is None
    install(folder, "ip6tables", "ip6tables v1.8.9 '(nf_tables)'")
    assert find_programs(Family.IPV6, "legacy") is None
    assert find_programs(Family.IPV6, "nf_tables") is not None
    install(folder, "ip6tables-legacy", "ip6tables v1.8.9 '(legacy)'")
    found = find_programs(Family.IPV6, "legacy")
    assert found is not None
    assert found.save.endswith("ip6tables-legacy-save")


def test_what_a_program_says_when_it_fails_is_in_the_error(folder: Path) -> None:
    install(
        folder, "iptables", "iptables v1.8.9", "echo iptables-restore: line 3 failed >&2; exit 1"
    )
    found = find_programs(Family.IPV4)
    assert found is not None
    with pytest.raises(KernelRefused, match=r"iptables-restore failed: .*line 3 failed"):
        found.apply("*nat\nCOMMIT\n")


def test_a_missing_right_is_told_as_one(folder: Path) -> None:
    install(
        folder,
        "iptables",
        "iptables v1.8.9",
        "echo 'Permission denied (you must be root)' >&2; exit 4",
    )
    found = find_programs(Family.IPV4)
    assert found is not None
    with pytest.raises(PrivilegeError, match="needs CAP_NET_ADMIN: run as root"):
        found.apply("*nat\nCOMMIT\n")


def test_without_programs_iptables_is_refused_in_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_kernel_if_any", lambda: None)
    monkeypatch.setattr("flannel_sdk.hostnet.firewall.engines.legacy_variants", lambda _: [])
    with pytest.raises(PermanentError, match="need iptables, which is not installed here: install"):
        choice.open_engine("iptables", RULES, 5.0)


def test_without_either_the_sentence_names_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_nftables(rules: RuleSet, resync: float) -> None:
        raise KernelUnsupported("this kernel cannot read nf_tables: Protocol not supported", 93)

    monkeypatch.setattr(choice, "_nftables", no_nftables)
    monkeypatch.setattr(choice, "_kernel_if_any", lambda: None)
    monkeypatch.setattr("flannel_sdk.hostnet.firewall.engines.legacy_variants", lambda _: [])
    with pytest.raises(PermanentError, match=r"neither with nftables .* nor with iptables"):
        choice.open_engine("auto", RULES, 5.0)
    with pytest.raises(PermanentError, match="cannot be made with nftables here"):
        choice.open_engine("nftables", RULES, 5.0)
