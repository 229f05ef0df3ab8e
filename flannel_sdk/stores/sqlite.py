"""The ``sqlite`` store: one file, shared by any number of processes on one host.

The file's tables, for programs that look into it or fill it:

- ``leases (key, value, expires, revision)``: ``key`` is flannel's key below ``subnets/``
  (``10.5.34.0-24``), ``value`` flannel's JSON as a BLOB, ``expires`` Unix time in seconds or NULL
  for a reservation. ``revision`` is filled by a trigger:
  ``INSERT INTO leases (key, value, expires)`` is enough, and watches of other processes see it.
- ``config (id, document)``: one row with id 1, flannel's network configuration.
- ``changes (revision, key)``: the log that watches read, filled by triggers, cut at its old end.
"""

import os
from dataclasses import dataclass, field

from flannel_sdk.errors import ConfigError
from flannel_sdk.interfaces import CONTRACT_VERSION
from flannel_sdk.stores.manager import EmbeddedSubnetManager


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """Options of the ``sqlite`` store."""

    path: str = field(
        default="/var/lib/flannel/net.db",
        metadata={"help": "The store file, on a local file system.", "metavar": "FILE"},
    )
    ttl: float = field(
        default=86400.0,
        metadata={"help": "Seconds until a lease that is not renewed ends.", "metavar": "SECONDS"},
    )


class SqlitePlugin:
    """What the entry point names."""

    contract_version = CONTRACT_VERSION
    options_type: type = SqliteOptions

    def open(self, options: SqliteOptions) -> EmbeddedSubnetManager:
        """See SubnetManagerPlugin."""
        from flannel_sdk.stores.sqlite_storage import SqliteStorage

        if not options.path or "\0" in options.path:
            raise ConfigError("path", "The option path of the sqlite store has to name a file.")
        if not options.ttl > 0:
            raise ConfigError("ttl", f"The option ttl is {options.ttl} and has to be above 0.")
        path = os.path.abspath(options.path)
        return EmbeddedSubnetManager(f"sqlite:{path}", SqliteStorage(path), options.ttl)


plugin = SqlitePlugin()
