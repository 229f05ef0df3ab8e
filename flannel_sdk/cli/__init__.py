"""The flannel-sdk command."""
