"""The texts of iptables-save and iptables-restore for flannel's chains."""

from collections.abc import Iterable
from typing import Final

from flannel_sdk.hostnet.firewall.flannel_chains import ChainView, FlannelChain, SeenRule
from flannel_sdk.hostnet.firewall.rules import KUBE_PROXY_MARK, Action, Rule
from flannel_sdk.model import Family, Prefix

_MARK: Final = f"{KUBE_PROXY_MARK:#x}/{KUBE_PROXY_MARK:#x}"
_ACTIONS: Final[dict[str, Action]] = {
    "RETURN": "return",
    "ACCEPT": "accept",
    "MASQUERADE": "masquerade",
}
_TARGETS: Final = {action: target for target, action in _ACTIONS.items()}


def rule_line(name: str, rule: Rule, comment: str, *, fully_random: bool) -> str:
    """A rule as ``iptables-save`` shows it, in flannel's order: addresses or mark, comment, target.

    ``name`` is the chain's.
    """
    words = ["-A", name]
    if rule.marked:
        words += ["-m", "mark", "--mark", _MARK]
    if rule.source is not None:
        words += [*(["!"] if rule.not_source else []), "-s", str(rule.source)]
    if rule.destination is not None:
        words += [*(["!"] if rule.not_destination else []), "-d", str(rule.destination)]
    words += ["-m", "comment", "--comment", f'"{comment}"']
    words += ["-j", rule.chain or _TARGETS[rule.action]]
    if rule.action == "masquerade" and fully_random:
        words.append("--random-fully")
    return " ".join(words)


def parse_saved(text: str, family: Family) -> dict[str, dict[str, list[SeenRule]]]:
    """Tables, chains and rules of an ``iptables-save``.

    Of the chains that others may fill with thousands of rules, those that cannot be of interest
    are not read.
    """
    tables: dict[str, dict[str, list[SeenRule]]] = {}
    chains: dict[str, list[SeenRule]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], [])
        elif line.startswith(("-A FLANNEL-", "-A POSTROUTING ", "-A FORWARD ")):
            chains.setdefault(line.split()[1], []).append(_parse_line(line, family))
    return tables


def policies(text: str) -> dict[tuple[str, str], str]:
    """The policy of each built-in chain by table and name."""
    found, table = {}, ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            found[table, name] = policy
    return found


def _parse_line(line: str, family: Family) -> SeenRule:
    import shlex

    rule, random, negated = Rule("accept"), False, False
    try:
        words = shlex.split(line)[2:]
    except ValueError:
        return SeenRule(None, line=line)
    position, complete = 0, False
    while position < len(words):
        word = words[position]
        value = words[position + 1] if position + 1 < len(words) else ""
        position += 2
        if word == "!":
            negated = True
            position -= 1
            continue
        if word == "--random-fully":
            random = True
            position -= 1
        elif word in ("-s", "-d"):
            prefix = _prefix(value, family)
            if prefix is None:
                return SeenRule(None, line=line)
            if word == "-s":
                rule = rule._replace(source=prefix, not_source=negated)
            else:
                rule = rule._replace(destination=prefix, not_destination=negated)
            negated = False
        elif (word, value) == ("--mark", _MARK) and not negated:
            rule = rule._replace(marked=True)
        elif word == "-j":
            action = _ACTIONS.get(value, "jump")
            rule = rule._replace(action=action, chain=value if action == "jump" else "")
            complete = True
        elif not (word == "-m" and value in ("comment", "mark")) and word != "--comment":
            return SeenRule(None, line=line)
    if not complete or negated:
        return SeenRule(None, line=line)
    return SeenRule(rule, random if rule.action == "masquerade" else None, line)


def _prefix(text: str, family: Family) -> Prefix | None:
    try:
        prefix = Prefix.parse(text if "/" in text else f"{text}/{family.bits}")
    except ValueError:
        return None
    return prefix if prefix.family is family else None


def restore_lines(view: ChainView, *, fully_random: bool) -> list[str]:
    """What ``iptables-restore --noflush`` has to be told so that a chain is as it has to be.

    Rules of other networks stay, behind ours: the order of the two does not matter. The jump goes
    to the end of the calling chain, as flannel's, and stays where it is.
    """
    chain = view.chain
    lines = [_delete(found) for found in view.leftovers]
    if view.wanted:
        lines = [f":{chain.name} - [0:0]", *lines]
        lines += [_line(chain, rule, fully_random) for rule in view.wanted]
        lines += [found.line for found in view.others]
        lines += [_delete(found) for found in view.jumps[1:]]
        if not view.jumps:
            jump = Rule("jump", chain=chain.name)
            lines.append(rule_line(chain.caller, jump, chain.comment, fully_random=False))
    elif view.others:
        lines += [_delete(found) for found in view.mine]
    elif chain.name in view.seen:
        lines += removal_lines(view)
    return lines


def removal_lines(view: ChainView) -> list[str]:
    """What removes a chain with all that is in it, and the jumps to it."""
    name = view.chain.name
    return [*(_delete(found) for found in view.jumps), f"-F {name}", f"-X {name}"]


def restore_text(tables: Iterable[tuple[str, list[str]]]) -> str:
    """Lines by table as one input; each table changes at once. Empty if there is nothing to do."""
    return "".join(
        f"*{table}\n" + "".join(f"{line}\n" for line in lines) + "COMMIT\n"
        for table, lines in tables
        if lines
    )


def _line(chain: FlannelChain, rule: Rule, fully_random: bool) -> str:
    return rule_line(chain.name, rule, chain.comment, fully_random=fully_random)


def _delete(found: SeenRule) -> str:
    return "-D" + found.line.removeprefix("-A")
