"""etcd members on loopback, made by the test that needs them."""

import socket
import subprocess


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Members:
    """An etcd cluster on loopback."""

    def __init__(self, directory, size):
        ports = free_ports(2 * size)
        self.clients, peers = ports[:size], ports[size:]
        initial = ",".join(f"m{i}=http://127.0.0.1:{p}" for i, p in enumerate(peers))
        self.commands = [
            ["etcd", "--name", f"m{i}", "--data-dir", str(directory / f"m{i}"), "--log-level", "error",
             "--listen-client-urls", f"http://127.0.0.1:{self.clients[i]}",
             "--advertise-client-urls", f"http://127.0.0.1:{self.clients[i]}",
             "--listen-peer-urls", f"http://127.0.0.1:{peers[i]}",
             "--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[i]}",
             "--initial-cluster", initial, "--heartbeat-interval", "50", "--election-timeout", "500"]
            for i in range(size)
        ]  # fmt: skip
        self.processes = [subprocess.Popen(c, stderr=subprocess.DEVNULL) for c in self.commands]

    @property
    def urls(self):
        return [f"http://127.0.0.1:{p}" for p in self.clients]

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()
