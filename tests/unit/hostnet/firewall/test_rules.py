"""Rules as nf_tables' expressions and as iptables' lines: written, and read back the same."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flannel_sdk.hostnet.firewall.iptables_text import parse_saved, rule_line
from flannel_sdk.hostnet.firewall.nft_decode import decode_rule
from flannel_sdk.hostnet.firewall.nft_expressions import encode_rule
from flannel_sdk.hostnet.firewall.rules import MARK_RULE, Addresses, Rule, RuleSet
from flannel_sdk.model import ByFamily, Family, IPAddress, Prefix

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ACTIONS = ("return", "accept", "masquerade")


@st.composite
def prefixes(draw: st.DrawFn, family: Family) -> Prefix:
    address = IPAddress(draw(st.binary(min_size=family.bits // 8, max_size=family.bits // 8)))
    return Prefix(address, draw(st.integers(1, family.bits))).masked()


@st.composite
def rules(draw: st.DrawFn) -> tuple[Family, Rule]:
    family = draw(st.sampled_from(Family))
    source = draw(st.none() | prefixes(family))
    destination = draw(st.none() | prefixes(family))
    return family, Rule(
        draw(st.sampled_from(ACTIONS)),
        source,
        destination,
        not_source=source is not None and draw(st.booleans()),
        not_destination=destination is not None and draw(st.booleans()),
        marked=draw(st.booleans()),
    )


@patient
@given(rules(), st.booleans())
def test_expressions_are_read_back(made: tuple[Family, Rule], fully_random: bool) -> None:
    family, rule = made
    expressions = encode_rule(rule, fully_random=fully_random, both_families=False)
    found = decode_rule(expressions, family)
    assert found.rule == rule
    assert found.fully_random is (fully_random if rule.action == "masquerade" else None)


@patient
@given(rules(), st.booleans())
def test_lines_are_read_back(made: tuple[Family, Rule], fully_random: bool) -> None:
    family, rule = made
    line = rule_line("FLANNEL-FWD", rule, "flanneld forward", fully_random=fully_random)
    (found,) = parse_saved(f"*filter\n{line}\nCOMMIT\n", family)["filter"]["FLANNEL-FWD"]
    assert found.rule == rule
    assert found.line == line
    assert found.fully_random is (fully_random if rule.action == "masquerade" else None)


@patient
@given(st.binary(max_size=200), st.sampled_from(Family))
def test_garbage_is_no_rule_of_ours(data: bytes, family: Family) -> None:
    rule = decode_rule(data, family).rule
    assert rule is None or rule.action in (*ACTIONS, "jump")


@patient
@given(st.text(alphabet=st.characters(exclude_characters="\n\r"), max_size=60))
def test_any_line_is_kept_as_it_is(words: str) -> None:
    line = "-A FLANNEL-FWD " + words.splitlines()[0] if words.splitlines() else "-A FLANNEL-FWD x"
    (found,) = parse_saved(f"*filter\n{line}\n", Family.IPV4)["filter"]["FLANNEL-FWD"]
    assert found.line == line


def test_what_others_match_on_is_not_taken_for_ours() -> None:
    for words in (
        "-s 10.5.0.0/16 -o eth0 -j MASQUERADE",
        "-s 10.5.0.0/16 -j MASQUERADE --to-ports 1-2",
        "-s 10.5.0.0/16",
        "-s nonsense -j ACCEPT",
        "-m mark --mark 0x1 -j RETURN",
        '-s 10.5.0.0/16 -m comment --comment "open',
    ):
        (found,) = parse_saved(f"*nat\n-A POSTROUTING {words}\n", Family.IPV4)["nat"]["POSTROUTING"]
        assert found.rule is None, words


def test_the_rules_of_flannels_chain_in_order() -> None:
    found = Addresses(Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.3.0/24"))
    wanted = RuleSet(ByFamily(found), masquerade=True, forward=True)
    lines = [
        rule_line("FLANNEL-POSTRTG", rule, "flanneld masq", fully_random=True)
        for rule in (MARK_RULE, *wanted.masquerade_rules(Family.IPV4))
    ]
    comment = '-m comment --comment "flanneld masq"'
    masquerade = "-j MASQUERADE --random-fully"
    assert lines == [
        f"-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {comment} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.5.3.0/24 -d 10.5.0.0/16 {comment} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.5.0.0/16 -d 10.5.3.0/24 {comment} -j RETURN",
        f"-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.3.0/24 {comment} -j RETURN",
        f"-A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 {comment} {masquerade}",
        f"-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.0.0/16 {comment} {masquerade}",
    ]
    assert wanted.masquerade_rules(Family.IPV6) == wanted.forward_rules(Family.IPV6) == ()
