"""Which processes make a cluster, and with which arguments: each is a public ``p8s`` command that also runs by hand."""

from __future__ import annotations

from .layout import Layout, Settings
from .machine import Machine
from .supervisor import Component


def components_for(layout: Layout, settings: Settings) -> list[Component]:
    agents = [
        Component(name, ["agent", "--data-dir", str(layout.data), "--node", name], stage=2)
        for name in settings.node_names
    ]
    if settings.joined_node:
        return agents
    return [
        Component("apiserver", apiserver_arguments(layout, settings), stage=0),
        Component("controlplane", ["controlplane", "--data-dir", str(layout.data)], stage=1),
        *agents,
    ]


def apiserver_arguments(layout: Layout, settings: Settings) -> list[str]:
    pki = layout.pki
    advertise = Machine(layout, settings).advertised
    return [
        "apiserver",
        f"--secure-port={settings.api_port}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={advertise}",
        f"--data-dir={layout.store}",
        f"--service-cluster-ip-range={settings.service_cidr}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
        f"--service-account-issuer=https://kubernetes.default.svc.{settings.cluster_domain}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
        "--enable-bootstrap-token-auth=true",
        *_arguments_of_files(layout),
    ]


def _arguments_of_files(layout: Layout) -> list[str]:
    """For the files that an administrator may lay into the data directory."""
    found = []
    if layout.authorization_file.exists():
        found.append(f"--authorization-config={layout.authorization_file}")
    else:
        found.append("--authorization-mode=Node,RBAC")
    if layout.authentication_file.exists():
        found.append(f"--authentication-config={layout.authentication_file}")
    if layout.admission_file.exists():
        found.append(f"--admission-control-config-file={layout.admission_file}")
    if layout.encryption_file.exists():
        found.append(f"--encryption-provider-config={layout.encryption_file}")
    if layout.audit_policy_file.exists():
        found += [
            f"--audit-policy-file={layout.audit_policy_file}",
            f"--audit-log-path={layout.logs / 'audit.log'}",
            "--audit-log-maxbackup=10",
            "--audit-log-mode=batch",
        ]
    return found
