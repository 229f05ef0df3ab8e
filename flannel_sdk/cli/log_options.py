"""What a daemon's log holds and looks like: flanneld's logging flags, and our own."""

import logging
import sys
from dataclasses import dataclass, field
from typing import Literal

from flannel_sdk.cli.log_format import JsonLines, SaidOnce, TextLines
from flannel_sdk.errors import ConfigError
from flannel_sdk.model import option_metadata

_log = logging.getLogger(__name__)
_CHATTY = ("asyncio", "grpc", "aiohttp", "kubernetes", "urllib3", "oauthlib", "requests_oauthlib")
"""Their details are no details of ours, and some of them are tokens."""
_SOURCE_FILES = "Accepted for flanneld's sake: it names flanneld's source files."


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How a daemon logs, always to standard error."""

    level: int = field(
        default=0,
        metadata=option_metadata("Log details from level 1 on.", "LEVEL", flag="v", bare="1"),
    )
    format: Literal["text", "json"] = field(
        default="text",
        metadata=option_metadata(
            "text: key=value; json: an object a line.", "KIND", flag="log-format"
        ),
    )
    vmodule: str = field(
        default="", metadata=option_metadata(_SOURCE_FILES, "PATTERN=LEVEL,..", flag="vmodule")
    )
    log_backtrace_at: str = field(
        default="", metadata=option_metadata(_SOURCE_FILES, "FILE:LINE", flag="log_backtrace_at")
    )

    def __post_init__(self) -> None:
        if self.level < 0:
            raise ConfigError("v", f"v is {self.level}, but a level of details is 0 or more")


def start_logging(options: LogOptions) -> None:
    """Log the process's records to standard error."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines() if options.format == "json" else TextLines())
    lines.addFilter(SaidOnce())
    logging.basicConfig(level=logging.DEBUG if options.level else logging.INFO, handlers=[lines])
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.INFO)
    if options.vmodule or options.log_backtrace_at:
        _log.info("vmodule and log_backtrace_at name flanneld's source files: they have no effect")
