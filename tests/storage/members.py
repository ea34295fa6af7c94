"""etcd members on loopback, made by the test that needs them."""

import json
import signal
import socket
import subprocess
import urllib.request


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Members:
    """An etcd cluster on loopback. ``tls`` has ``ca.crt``, ``server.crt`` and ``server.key``, and clients must show one too."""

    def __init__(self, directory, size, tls=None):
        ports = free_ports(2 * size)
        self.clients, peers = ports[:size], ports[size:]
        self.scheme = "https" if tls else "http"
        secure = (
            ["--cert-file", str(tls / "server.crt"), "--key-file", str(tls / "server.key"), "--client-cert-auth",
             "--trusted-ca-file", str(tls / "ca.crt")]
            if tls else []
        )  # fmt: skip
        initial = ",".join(f"m{i}=http://127.0.0.1:{p}" for i, p in enumerate(peers))
        self.commands = [
            ["etcd", "--name", f"m{i}", "--data-dir", str(directory / f"m{i}"), "--log-level", "error",
             "--listen-client-urls", self.urls[i], "--advertise-client-urls", self.urls[i],
             "--listen-peer-urls", f"http://127.0.0.1:{peers[i]}",
             "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[i]}",
             "--initial-cluster", initial, "--heartbeat-interval", "50", "--election-timeout", "500", *secure]
            for i in range(size)
        ]  # fmt: skip
        self.processes = [subprocess.Popen(c, stderr=subprocess.DEVNULL) for c in self.commands]

    @property
    def urls(self):
        return [f"{self.scheme}://127.0.0.1:{p}" for p in self.clients]

    def leader(self):
        """The number of the member that leads."""
        for number, url in enumerate(self.urls):
            with urllib.request.urlopen(f"{url}/v3/maintenance/status", data=b"{}", timeout=5) as answer:
                status = json.load(answer)
            if status["header"]["member_id"] == status["leader"]:
                return number
        raise AssertionError("nobody leads")

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
