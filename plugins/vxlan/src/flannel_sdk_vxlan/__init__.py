"""The vxlan backend."""
