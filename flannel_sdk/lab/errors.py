"""What goes wrong in a lab, beyond the errors that all of flannel_sdk shares."""

from flannel_sdk.errors import PermanentError


class LabError(PermanentError):
    """The lab is not in a state for this, or a program it needs failed; says which."""


class TornState(LabError):
    """The lab's file cannot be read; what it told is found by other means."""
