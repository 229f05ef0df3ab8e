"""What a field of an options class says about itself: its help, its flag, its variable."""


def option_metadata(
    help_text: str,
    metavar: str,
    *,
    flag: str | None = None,
    env: str | None = None,
    **more: object,
) -> dict[str, object]:
    """The metadata of one field, in the form that ``SubnetManagerPlugin.options_type`` describes.

    ``flag`` is a command-line flag without dashes, which gives the option the variable
    ``FLANNELD_...`` too; ``env`` is a variable for an option without a flag.
    """
    told: dict[str, object] = {"help": help_text, "metavar": metavar, **more}
    if flag is not None:
        told["flag"] = flag
    if env is not None:
        told["env"] = env
    return told
