"""Takes secrets out of what is given to others: by the names of keys, and by the look of texts."""

import re
from collections.abc import Mapping

REDACTED = "<redacted>"

_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|psk|private.?key|credential|api.?key|auth(orization)?$",
    re.IGNORECASE,
)
_SECRET_TEXTS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]+"),
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"),
    re.compile(r"(?i)(?<=password=)\S+|(?<=token=)\S+|(?<=secret=)\S+"),
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
        text = pattern.sub(REDACTED, text)
    return text
