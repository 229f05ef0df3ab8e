"""A cluster of network namespaces on one machine, one real daemon a node."""

from flannel_sdk.lab.errors import LabError
from flannel_sdk.lab.lab import Lab
from flannel_sdk.lab.names import LabNames
from flannel_sdk.lab.ping import Matrix, Pair, PairResult, Pod, ping_all
from flannel_sdk.lab.probe import ProbeReport, ProbeStream, probing
from flannel_sdk.lab.spec import Families, LabSpec

__all__ = [
    "Families",
    "Lab",
    "LabError",
    "LabNames",
    "LabSpec",
    "Matrix",
    "Pair",
    "PairResult",
    "Pod",
    "ProbeReport",
    "ProbeStream",
    "ping_all",
    "probing",
]
