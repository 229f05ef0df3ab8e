"""This host's side: external interface, subnet.env."""
