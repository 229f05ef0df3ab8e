"""A cluster of network namespaces on one machine, one real daemon a node."""
