"""How a requirement's test ends otherwise than by passing."""

from typing import NoReturn

NOT_APPLICABLE = "does not apply: "
LEFT_OUT = "left out: "


class Broken(AssertionError):
    """The requirement does not hold; the message is a sentence for the plugin's author."""


class Skipped(BaseException):
    """The requirement was not judged; the message says why, after one of the prefixes above.

    No Exception, so that no test takes it for what a plugin raised.
    """


def held(condition: object, otherwise: str) -> None:
    """Raise Broken with the sentence ``otherwise`` unless ``condition`` is true."""
    if not condition:
        raise Broken(otherwise)


def does_not_apply(reason: str) -> NoReturn:
    """End the test: the requirement is not one for this plugin."""
    raise Skipped(NOT_APPLICABLE + reason)


def leave_out(reason: str) -> NoReturn:
    """End the test: it cannot be run here; ``reason`` says what to do about it."""
    raise Skipped(LEFT_OUT + reason)
