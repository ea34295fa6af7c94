"""Where a cluster keeps its things: one data directory for what lasts, one run directory for what a reboot may take away.

``DATA_VERSION`` names the layout. A directory of another version is refused rather than guessed at.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import orjson

DATA_VERSION = 1
DEFAULT_DATA_DIR = Path("/var/lib/pybernetes")
RUN_ROOT = Path("/run/pybernetes")
MACHINE_REGISTRY_HOSTS = Path("/etc/containerd/certs.d")
"""containerd's customary place for mirrors and certificates of registries."""


class ClusterError(Exception):
    """Something a person must mend: ``str()`` is one line that says what is wrong, ``remedy`` how to mend it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one cluster."""

    data: Path

    @classmethod
    def of(cls, data_dir: str | Path | None) -> Layout:
        return cls(Path(data_dir).absolute() if data_dir else DEFAULT_DATA_DIR)

    @property
    def tag(self) -> str:
        """Six characters that tell this cluster's links, namespaces and cgroups from another's on the same machine.

        An interface name may have no more than 15 characters, so the path itself cannot serve.
        """
        return hashlib.sha256(str(self.data).encode()).hexdigest()[:6]

    @property
    def run(self) -> Path:
        return RUN_ROOT / self.tag

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    @property
    def store(self) -> Path:
        return self.data / "store"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def kubeconfigs(self) -> Path:
        return self.data / "kubeconfigs"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    @property
    def encryption_file(self) -> Path:
        """An EncryptionConfiguration; where there is none, nothing is encrypted."""
        return self.data / "encryption.yaml"

    @property
    def audit_policy_file(self) -> Path:
        """An audit Policy; where there is none, nothing is recorded."""
        return self.data / "audit-policy.yaml"

    @property
    def authentication_file(self) -> Path:
        """An AuthenticationConfiguration: further issuers of tokens, and where nobodies are let in."""
        return self.data / "authentication.yaml"

    @property
    def authorization_file(self) -> Path:
        """An AuthorizationConfiguration; where there is none, Node and RBAC decide."""
        return self.data / "authorization.yaml"

    @property
    def admission_file(self) -> Path:
        """An AdmissionConfiguration: settings of admission plugins."""
        return self.data / "admission.yaml"

    @property
    def settings_file(self) -> Path:
        return self.data / "cluster.json"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def registry_hosts(self) -> str:
        """Where containerd looks for ``HOST/hosts.toml`` of a registry: the cluster's own directory, then the machine's."""
        return f"{self.data / 'registries'}:{MACHINE_REGISTRY_HOSTS}"

    def node(self, name: str) -> Path:
        return self.data / "nodes" / name

    def check_version(self) -> None:
        """Raises ClusterError where the directory holds something that this version cannot use."""
        if not self.data.exists() or not any(self.data.iterdir()):
            return
        marker = self.data / "version"
        if not marker.exists():
            raise ClusterError(
                f"{self.data} is not empty and not a Pybernetes data directory",
                "choose another with --data-dir, or empty it",
            )
        found = marker.read_text().strip()
        if found != str(DATA_VERSION):
            raise ClusterError(
                f"{self.data} has data version {found!r}, this p8s reads version {DATA_VERSION}",
                "use the p8s that made it, or start afresh with `p8s down --purge`",
            )

    def create(self) -> None:
        """Makes the directories. Raises ClusterError where the file system refuses."""
        try:
            for path in (self.data, self.pki, self.store, self.logs, self.kubeconfigs):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.data / "version").write_text(f"{DATA_VERSION}\n")
        except OSError as failure:
            raise ClusterError(
                f"cannot write to {self.data}: {failure.strerror}", "free space or fix permissions"
            ) from (failure)


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``p8s up`` was asked for; kept so that a later ``up`` makes the same cluster."""

    nodes: int = 1
    simulated_nodes: int = 0
    simulated_stages: str = ""
    api_port: int = 6443
    network: str = "vxlan"
    proxy_mode: str = "nftables"
    pod_cidr: str = "10.244.0.0/16"
    service_cidr: str = "10.96.0.0/16"
    node_cidr: str = "172.30.0.0/24"
    cluster_domain: str = "cluster.local"
    joined_node: str = ""
    """This machine's name as a node of somebody else's cluster; then nothing but its agent runs here."""
    joined_address: str = ""
    joined_server: str = ""

    def save(self, layout: Layout) -> None:
        fields = {name: getattr(self, name) for name in self.__slots__}
        layout.settings_file.write_bytes(orjson.dumps(fields, option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, layout: Layout) -> Settings | None:
        """The settings of the last ``up``; None where there was none. Raises ClusterError for a damaged file."""
        try:
            fields = orjson.loads(layout.settings_file.read_bytes())
            return cls(**fields)
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, TypeError) as failure:
            raise ClusterError(
                f"{layout.settings_file} is damaged: {failure}", "remove it, or start afresh with `p8s down --purge`"
            ) from failure

    @property
    def load_balancer_cidr(self) -> str:
        """The last quarter of the nodes' network: addresses for Services of type LoadBalancer."""
        network = ipaddress.ip_network(self.node_cidr)
        return str(list(network.subnets(prefixlen_diff=2))[-1])

    @property
    def node_names(self) -> tuple[str, ...]:
        """The nodes that run on this machine."""
        return (self.joined_node,) if self.joined_node else tuple(f"node-{i}" for i in range(self.nodes))
