"""Takes secrets out of what is given to others: by the names of keys, and by the look of texts."""

import re
from collections.abc import Mapping

REDACTED = "<redacted>"

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|psk|private.?key|client.?key.?data|credential|api.?key"
    r"|auth(orization)?$",
    re.IGNORECASE,
)
_NAMED = r"(?:password|passwd|passphrase|secret|token|psk|private[-_]?key|api[-_]?key)"
_SECRET_TEXTS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
    # Up to the last @: a password may hold one, and a slash.
    re.compile(r"(?P<left>://)[^\s,\"'<>]+(?=@)"),
    re.compile(r"(?i)(?P<left>\b(?:bearer|basic) )[\w.~+/=-]{6,}"),
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"),
    re.compile(rf"""(?i)(?P<left>{_NAMED}["']?\s*[=:]\s*["']?)[^\s"']+"""),
    # A word of its own only after a flag: people write of a token, too.
    re.compile(rf"""(?i)(?P<left>\s--?[\w-]*{_NAMED}\s+["']?)[^\s"']+"""),
)


def redacted(value: object) -> object:
    """A copy of a JSON value without what is secret."""
    if isinstance(value, Mapping):
        return {
            str(key): REDACTED if _SECRET_NAME.search(str(key)) and item else redacted(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return redacted_text(value) if isinstance(value, str) else value


def redacted_text(text: str) -> str:
    """A copy of a text without private keys, tokens, and passwords in URLs."""
    for pattern in _SECRET_TEXTS:
        text = pattern.sub(_without_secret, text)
    return text


def _without_secret(found: "re.Match[str]") -> str:
    return str(found.groupdict().get("left", "")) + REDACTED
