"""Compares store, daemon, kernel and wire, and names the layer that is broken and its cure."""
