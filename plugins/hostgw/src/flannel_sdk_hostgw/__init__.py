"""The host-gw backend."""
