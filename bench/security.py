"""Measures what authentication, authorization and audit cost a GET, and how long decisions take among many roles.

    python bench/security.py [--seconds 3] [--rounds 5] [--json FILE] [--peer KUBE_APISERVER --etcd ETCD]

Starts an API server for each configuration, fills it with one config map and reads that over TLS with ``wrk`` (Debian package of
the same name), the configurations in turn, round after round: what else the machine does meets all of them alike. CPU time a
request comes from /proc and depends on the machine's other work the least. With ``--peer`` upstream's server gets the same
configurations. The decisions among 10,000 roles and bindings are measured inside this process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

TOKENS = 'master-token,master,m,"system:masters"\nreader-token,reader,r\n'
POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"
OBJECT = "/api/v1/namespaces/default/configmaps/bench"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
WARM = 100_000


@dataclass
class Setup:
    """One configuration of an API server."""

    name: str
    modes: str
    token: str
    audit: str = ""
    rates: list[float] = field(default_factory=list)
    micros: list[float] = field(default_factory=list)


def setups() -> list[Setup]:
    return [
        Setup("anonymous, AlwaysAllow", "AlwaysAllow", ""),
        Setup("token, AlwaysAllow", "AlwaysAllow", "reader-token"),
        Setup("token, Node,RBAC", "Node,RBAC", "reader-token"),
        Setup("token, Node,RBAC, audit (batch)", "Node,RBAC", "reader-token", "batch"),
        Setup("token, Node,RBAC, audit (blocking)", "Node,RBAC", "reader-token", "blocking"),
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running API server of ours or of upstream's."""

    def __init__(self, setup: Setup, directory: Path, peer: str, etcd: str) -> None:
        directory.mkdir()
        self.setup, self.directory, self.port = setup, directory, free_port()
        (directory / "tokens.csv").write_text(TOKENS)
        (directory / "policy.yaml").write_text(POLICY)
        self.processes: list[subprocess.Popen[bytes]] = []
        flags = [
            f"--secure-port={self.port}", "--bind-address=127.0.0.1", f"--token-auth-file={directory}/tokens.csv",
            f"--authorization-mode={setup.modes}", f"--cert-dir={directory}/certs",
        ]  # fmt: skip
        if setup.audit:
            flags += [
                f"--audit-policy-file={directory}/policy.yaml", f"--audit-log-path={directory}/audit.log",
                f"--audit-log-mode={setup.audit}", "--audit-log-maxsize=100", "--audit-log-maxbackup=1",
            ]  # fmt: skip
        if peer:
            flags += self._peer_flags(etcd)
            self._start([peer, *flags])
        else:
            # Unasked, nobodies are not let in where everybody may do everything.
            flags += [f"--data-dir={directory}/data", f"--anonymous-auth={not setup.token}".lower()]
            self._start([str(Path(sys.executable).parent / "p8s"), "apiserver", *flags])
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        self._wait()
        self._fill()

    def _start(self, command: list[str]) -> None:
        log = (self.directory / "log").open("ab")
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _peer_flags(self, etcd: str) -> list[str]:
        client, peer = free_port(), free_port()
        url, peers = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        self._start(
            [etcd, f"--data-dir={self.directory}/etcd", f"--listen-client-urls={url}", f"--advertise-client-urls={url}",
             f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}"]
        )  # fmt: skip
        key = self.directory / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        return [
            f"--etcd-servers={url}", f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16",
        ]  # fmt: skip

    def call(self, method: str, path: str, body: object = None) -> int:
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", method=method)
        request.add_header("Authorization", "Bearer master-token")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, context=self.tls, timeout=30) as answer:
            answer.read()
            return int(answer.status)

    def _wait(self) -> None:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            try:
                if self.call("GET", "/readyz") == 200 and self.call("GET", "/api/v1/namespaces/default") == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"{self.setup.name}: not ready, see {self.directory}/log")

    def _fill(self) -> None:
        self.call("POST", OBJECT.rpartition("/")[0], {"metadata": {"name": "bench"}, "data": {"k": "x" * 1000}})
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
        self.call("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "bench"}, "rules": rules})
        group = "rbac.authorization.k8s.io"
        binding = {
            "metadata": {"name": "bench"},
            "subjects": [{"kind": "User", "name": "reader", "apiGroup": group}],
            "roleRef": {"kind": "ClusterRole", "name": "bench", "apiGroup": group},
        }
        self.call("POST", f"{RBAC}/clusterrolebindings", binding)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.processes[-1].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, seconds: int) -> None:
        """One round of reads."""
        header = ["-H", f"Authorization: Bearer {self.setup.token}"] if self.setup.token else []
        before = self.cpu_seconds()
        text = subprocess.run(
            ["wrk", "-t1", "-c8", f"-d{seconds}", *header, f"https://127.0.0.1:{self.port}{OBJECT}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        if "Non-2xx" in text:
            raise SystemExit(f"{self.setup.name}: {text}")
        rate, number = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"(\d+) requests in", text)
        assert rate and number
        self.setup.rates.append(float(rate[1]))
        self.setup.micros.append((self.cpu_seconds() - before) / int(number[1]) * 1e6)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def records(self) -> int:
        """Records of the object's reads, after the stop."""
        found = 0
        for file in self.directory.glob("audit*.log"):
            with file.open("rb") as lines:
                found += sum(OBJECT.encode() in line for line in lines)
        return found


def throughput(options: argparse.Namespace) -> list[dict[str, object]]:
    """Ours and the peer in the same rounds."""
    servers: list[Server] = []
    wanted = [(s, "") for s in setups()]
    # Upstream's lets nobodies in nowhere where everybody may do everything.
    wanted += [(s, options.peer) for s in setups() if options.peer and s.token]
    with tempfile.TemporaryDirectory(prefix="p8s-bench-") as directory:
        try:
            for number, (setup, peer) in enumerate(wanted):
                servers.append(Server(setup, Path(directory, str(number)), peer, options.etcd))
            for _ in range(options.rounds):
                for server in servers:
                    server.load(options.seconds)
        finally:
            for server in servers:
                server.stop()
    rows: list[dict[str, object]] = []
    for setup, peer in wanted:
        rows.append(
            {
                "server": "peer" if peer else "ours",
                "configuration": setup.name,
                "requests_per_second": round(statistics.median(setup.rates)),
                "cpu_microseconds": round(statistics.median(setup.micros), 1),
            }
        )
    return rows


# -- decisions among many roles ----------------------------------------------------------------------------------------


class Objects:
    """An ``ObjectReader`` over lists."""

    def __init__(self, objects: dict[object, list[dict[str, object]]]) -> None:
        self.objects = objects
        self.index = {
            (g, o["metadata"].get("namespace", ""), o["metadata"]["name"]): o
            for g, some in objects.items()
            for o in some
        }  # type: ignore[attr-defined]

    def get(self, gvr: object, namespace: str, name: str) -> object:
        return self.index.get((gvr, namespace, name))

    def list(self, gvr: object, namespace: str = "") -> list[dict[str, object]]:
        return self.objects.get(gvr, [])

    def subscribe(self, gvr: object, listener: object) -> object:
        return lambda: None


def many_roles(number: int) -> Objects:
    """Half of the roles and bindings in namespaces, half across the cluster."""
    from pybernetes.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES

    objects: dict[object, list[dict[str, object]]] = {
        g: [] for g in (ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS)
    }
    for i in range(number):
        spaced = i % 2 == 0
        metadata = {"name": f"r{i}", **({"namespace": f"ns{i % 100}"} if spaced else {})}
        rules = [{"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list"]}]
        subjects = [{"kind": "User", "name": f"user{i}"}, {"kind": "Group", "name": f"team{i % 200}"}]
        reference = {"kind": "Role" if spaced else "ClusterRole", "name": f"r{i}"}
        objects[ROLES if spaced else CLUSTER_ROLES].append({"metadata": metadata, "rules": rules})
        binding = {"metadata": metadata, "subjects": subjects, "roleRef": reference}
        objects[ROLE_BINDINGS if spaced else CLUSTER_ROLE_BINDINGS].append(binding)
    return Objects(objects)


def decisions(number: int) -> dict[str, object]:
    from pybernetes.apiserver.authz.rbac import RbacAuthorizer
    from pybernetes.hooks.authorization import Attributes
    from pybernetes.hooks.identity import UserInfo

    authorizer = RbacAuthorizer(many_roles(number))  # type: ignore[arg-type]
    began = time.perf_counter()
    assert authorizer.index
    built = time.perf_counter() - began
    gc.collect()
    gc.freeze()  # as the server does: its passes over what stays are none of a decision's time
    firsts, laters = [], []
    for i in range(200):
        user = UserInfo(f"user{i}", groups=(f"team{i}", "system:authenticated"))
        question = Attributes(user, "get", "", "v1", "configmaps", "", f"ns{i % 100}", "x")
        began = time.perf_counter()
        first = authorizer.decide(question)
        firsts.append(time.perf_counter() - began)
        assert first.reason, "everybody in this benchmark has a role"
    asked = asyncio.run(_warm(authorizer, question))
    laters.append(asked)
    return {
        "roles_and_bindings": number,
        "index_ms_once_at_start": round(built * 1e3, 1),
        "first_decision_ms_median": round(statistics.median(firsts) * 1e3, 3),
        "first_decision_ms_worst": round(max(firsts) * 1e3, 3),
        "later_decision_us": round(asked * 1e6, 2),
    }


async def _warm(authorizer: object, question: object) -> float:
    began = time.perf_counter()
    for _ in range(WARM):
        await authorizer.authorize(question)  # type: ignore[attr-defined]
    return (time.perf_counter() - began) / WARM


def table(rows: list[dict[str, object]]) -> str:
    lines = [f"{'':42}{'GET /s':>10}{'of its first':>14}{'CPU us each':>14}"]
    base: dict[object, float] = {}
    for row in rows:
        rate = float(row["requests_per_second"])  # type: ignore[arg-type]
        share = rate / base.setdefault(row["server"], rate)
        name = f"{row['server']}: {row['configuration']}"
        lines.append(f"{name:42}{rate:>10,.0f}{share:>13.2f}x{row['cpu_microseconds']:>14}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--roles", type=int, default=10_000)
    parser.add_argument("--peer", default="", help="upstream's kube-apiserver")
    parser.add_argument("--etcd", default="etcd", help="for the peer")
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    rows = throughput(options)
    found = decisions(options.roles)
    print(table(rows))
    print("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in found.items()))
    if options.json:
        Path(options.json).write_text(json.dumps({"get": rows, "rbac": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
