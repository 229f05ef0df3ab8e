"""Node objects as a kubelet registers them: small ones, and some of the size of real ones."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_beats = itertools.count()


def node(
    name: str,
    *pod_cidrs: str,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """A Node with little in it; without pod CIDRs it waits for some."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": dict(annotations or {}),
            "labels": dict(labels or {}),
        },
        "spec": pod_cidr_spec(pod_cidrs),
        "status": {"conditions": [ready_condition()]},
    }


def pod_cidr_spec(pod_cidrs: Sequence[str]) -> dict[str, object]:
    """What the controller manager writes for a node."""
    return {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)} if pod_cidrs else {}


def ready_condition() -> dict[str, object]:
    """The kubelet's, with a later heartbeat at each call."""
    beat = (_EPOCH + timedelta(seconds=next(_beats))).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": beat,
        "lastTransitionTime": _EPOCH.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def flannel_annotations(
    public_ip: str, backend_data: str = '{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}'
) -> dict[str, str]:
    """What a flanneld with vxlan has written to its node."""
    stem = "flannel.alpha.coreos.com/"
    return {
        f"{stem}backend-data": backend_data,
        f"{stem}backend-type": "vxlan",
        f"{stem}kube-subnet-manager": "true",
        f"{stem}public-ip": public_ip,
    }


def realistic_nodes(count: int, prefix: str = "n") -> Iterator[dict[str, object]]:
    """Nodes of about 8 KB with leases out of 10.0.0.0/8, one /24 each (at most 65,536)."""
    for number in range(count):
        yield realistic_node(f"{prefix}{number:05d}", number)


def realistic_node(name: str, number: int) -> dict[str, object]:
    """One of ``realistic_nodes``: its size is mostly the names of images."""
    high, low = divmod(number, 256)
    mac = f"12:c6:65:00:{high:02x}:{low:02x}"
    public_ip = f"172.16.{high}.{low}"
    made = node(
        name,
        f"10.{high}.{low}.0/24",
        annotations=flannel_annotations(public_ip, f'{{"VNI":1,"VtepMAC":"{mac}"}}')
        | {
            "kubeadm.alpha.kubernetes.io/cri-socket": "unix:///run/containerd/containerd.sock",
            "node.alpha.kubernetes.io/ttl": "300",
            "volumes.kubernetes.io/controller-managed-attach-detach": "true",
        },
        labels={
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "standard-8",
            "topology.kubernetes.io/region": "region-1",
            "topology.kubernetes.io/zone": f"region-1-{number % 3}",
        },
    )
    size = {
        "cpu": "8",
        "memory": "32567432Ki",
        "pods": "110",
        "ephemeral-storage": "101430960Ki",
        "hugepages-2Mi": "0",
    }
    made["status"] = {
        "addresses": [
            {"type": "InternalIP", "address": public_ip},
            {"type": "Hostname", "address": name},
        ],
        "allocatable": size,
        "capacity": size,
        "conditions": [
            ready_condition(),
            *(
                ready_condition() | {"type": kind, "status": "False", "reason": "Kubelet"}
                for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")
            ),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "images": [_image(index) for index in range(30)],
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": f"5d0c2d5e-0000-4000-8000-{number:012d}",
            "containerRuntimeVersion": "containerd://1.7.24",
            "kernelVersion": "6.1.0-31-amd64",
            "kubeProxyVersion": "v1.32.3",
            "kubeletVersion": "v1.32.3",
            "machineID": f"{number:032x}",
            "operatingSystem": "linux",
            "osImage": "Debian GNU/Linux 12 (bookworm)",
            "systemUUID": f"4c4c4544-0000-4000-8000-{number:012d}",
        },
    }
    return made


def _image(index: int) -> dict[str, object]:
    digest = f"{index:02x}" * 32
    return {
        "names": [
            f"registry.example/team/service-{index}@sha256:{digest}",
            f"registry.example/team/service-{index}:v1.{index}.0",
        ],
        "sizeBytes": 50_000_000 + index,
    }
