"""Much data through exec, cp and port-forward with the real kubectl, by WebSocket and by SPDY, comes out as it went in.

``P8S_STREAM_MEGABYTES=1024`` sends a gigabyte each way; without it, little enough for every run.
"""

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import threading

import pytest

SIZE = int(os.environ.get("P8S_STREAM_MEGABYTES", "24")) << 20
BLOCK = 1 << 20
PATIENCE = 60 + SIZE // (4 << 20)
WEBSOCKET, SPDY = "true", "false"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: streams}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: nginx:1.19
    command: [/bin/busybox, nc, -ll, -p, "7000", -e, /bin/cat]
"""


def blocks():
    """The bytes that are sent: no two blocks are alike, and none compresses."""
    state = hashlib.sha256(b"seed").digest()
    base = b"".join(hashlib.sha256(state + bytes([i % 256, i // 256])).digest() for i in range(BLOCK // 32))
    for number in range(SIZE // BLOCK):
        yield number.to_bytes(8, "big") + base[8:]


DIGEST = hashlib.sha256()
for _block in blocks():
    DIGEST.update(_block)


@pytest.fixture(scope="module")
def pod(cluster):
    cluster.kubectl("apply", "-f", "-", stdin=POD)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/streams", "--timeout=60s")


def environment(websocket):
    return {**os.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websocket, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websocket}


def kubectl(cluster, *arguments):
    return ["kubectl", "--kubeconfig", str(cluster.data / "kubeconfig"), *arguments]


@pytest.mark.parametrize("websocket", [WEBSOCKET, SPDY])
def test_exec_gives_back_what_it_is_given(cluster, pod, kubectl_there, websocket):
    process = subprocess.Popen(
        kubectl(cluster, "exec", "-i", "streams", "--", "cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(websocket),
    )

    def send():
        for block in blocks():
            process.stdin.write(block)
        process.stdin.close()

    sender = threading.Thread(target=send)
    sender.start()
    found = hashlib.sha256()
    while data := process.stdout.read(BLOCK):
        found.update(data)
    sender.join(PATIENCE)
    assert process.wait(PATIENCE) == 0
    assert found.hexdigest() == DIGEST.hexdigest()


@contextlib.contextmanager
def forwarded(cluster, websocket):
    process = subprocess.Popen(
        kubectl(cluster, "port-forward", "pod/streams", ":7000"),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(websocket),
    )
    try:
        yield int(re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())[1])
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.mark.parametrize("websocket", [WEBSOCKET, SPDY])
def test_a_forwarded_port_gives_back_what_it_is_given(cluster, pod, kubectl_there, websocket):
    with forwarded(cluster, websocket) as port, socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:

        def send():
            for block in blocks():
                connection.sendall(block)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        found, left = hashlib.sha256(), SIZE
        while left and (data := connection.recv(BLOCK)):
            found.update(data)
            left -= len(data)
        sender.join(PATIENCE)
    assert found.hexdigest() == DIGEST.hexdigest()


def test_cp_there_and_back(cluster, pod, kubectl_there, tmp_path):
    sent, returned = tmp_path / "sent", tmp_path / "returned"
    with sent.open("wb") as file:
        for block in blocks():
            file.write(block)
    cluster.kubectl("cp", str(sent), "streams:/tmp/there", timeout=PATIENCE)
    cluster.kubectl("cp", "streams:/tmp/there", str(returned), timeout=PATIENCE)
    with returned.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == DIGEST.hexdigest()


def test_a_slow_reader_stops_the_command(cluster, pod, kubectl_there):
    """Nothing on the way takes what nobody reads: the memory of our processes does not grow with it."""
    process = subprocess.Popen(
        kubectl(
            cluster, "exec", "streams", "--", "/bin/busybox", "dd", "if=/dev/zero", "bs=65536", f"count={SIZE >> 15}"
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        first = process.stdout.read(65536)
        before = memory(cluster)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        assert len(first) == 65536
        assert memory(cluster) - before < 24 << 20
        total = len(first)
        while data := process.stdout.read(BLOCK):
            total += len(data)
        assert total == (SIZE >> 15) * 65536
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()


def memory(cluster):
    """Resident bytes of the API server and the node agent."""
    status = cluster.p8s("status").stdout
    pids = [line.split()[1] for line in status.splitlines()[1:] if line.split()[0] in ("apiserver", "node-0")]
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/statm") as file:
            total += int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total
