"""The certificates of a node that joined are exchanged before they end, on open connections and for the next start."""

import asyncio
import base64
import random
import ssl

import pytest
from cryptography import x509

from pybernetes.client import kubeconfig, signing
from pybernetes.client.transport import HttpTransport
from pybernetes.cluster.certificates import PROXY, kubelet_identity
from pybernetes.cluster.renewal import renewals
from pybernetes.concurrency import VirtualClock, virtual_event_loop
from pybernetes.kubelet.identity import client_files

NOW, YEAR = 1_800_000_000.0, 365 * 86400.0
ADDRESS = "10.1.2.3"


class Authority:
    """The API server of a cluster: signs what is asked for at once. Stands for a client."""

    def __init__(self, clock):
        self.clock, self.asked = clock, []
        self.ca = signing.new_authority("kubernetes", now=NOW - 60, lifetime=10 * YEAR)
        self.transport = Shown()

    def issue(self, subject, usages):
        return signing.issue(self.ca, subject, usages, now=self.clock.now(), lifetime=YEAR)

    async def create(self, gvr, body):
        self.asked.append(body["spec"])
        return {"metadata": {"name": f"csr-{len(self.asked) - 1}"}}

    async def get(self, gvr, name):
        spec = self.asked[int(name.removeprefix("csr-"))]
        request = signing.parse_request(base64.b64decode(spec["request"]))
        signed = signing.sign_request(self.ca, request, tuple(spec["usages"]), now=self.clock.now(), duration=YEAR)
        return {"status": {"certificate": base64.b64encode(signed).decode()}}


class Shown(HttpTransport):
    def __init__(self):
        super().__init__("localhost", 1)
        self.taken = []

    def take_certificate(self, file):
        self.taken.append(signing.load_certificate(file.read_bytes()).serial_number)


class Other:
    def __init__(self):
        self.transport = Shown()


@pytest.fixture
def clock():
    return VirtualClock(NOW)


def joined(directory, api):
    identity = kubelet_identity("far")
    certificate, key = api.issue(identity.subject, signing.CLIENT_USAGES)
    document = kubeconfig.document_for(
        "https://127.0.0.1:1", api.ca.pem, user=identity.subject.common_name, certificate=certificate, key=key
    )
    for file in (identity.file, PROXY.file):
        kubeconfig.write(directory / file, document)
    subject = signing.Subject("system:node:far", ("system:nodes",), ("far", ADDRESS))
    certificate, key = api.issue(subject, signing.SERVER_USAGES)
    (directory / "kubelet.crt").write_bytes(certificate)
    (directory / "kubelet.key").write_bytes(key)
    return directory


def state(directory):
    """Serial numbers of what a start would read."""
    found = []
    for file in ("kubelet.conf", PROXY.file):
        user = kubeconfig.load(directory / file)["users"][0]["user"]
        certificate = base64.b64decode(user["client-certificate-data"])
        signing.key_from_pem(base64.b64decode(user["client-key-data"]))
        found.append(signing.load_certificate(certificate).serial_number)
    found.append(signing.load_certificate((directory / "kubelet.crt").read_bytes()).serial_number)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(directory / "kubelet.crt", directory / "kubelet.key")
    return found


def test_both_are_renewed_in_time_and_for_the_next_start(tmp_path, clock):
    api, proxy = Authority(clock), Other()
    directory = joined(tmp_path, api)
    before = state(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    async def play():
        made = renewals(directory, "far", ADDRESS, (api, proxy), context, clock, random.Random(1))
        tasks = [asyncio.get_running_loop().create_task(m.run()) for m in made]
        await clock.sleep(0.69 * YEAR)
        assert (api.asked, state(directory)) == ([], before)
        await clock.sleep(0.22 * YEAR)
        after = state(directory)
        assert after[0] == after[1] and set(after).isdisjoint(before)
        assert api.transport.taken == proxy.transport.taken == [after[0]]
        assert [s["signerName"] for s in sorted(api.asked, key=lambda s: s["signerName"])] == [
            signing.KUBELET_CLIENT_SIGNER,
            signing.KUBELET_SERVING_SIGNER,
        ]
        serving = signing.load_certificate((directory / "kubelet.crt").read_bytes())
        names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(n.value) for n in names] == ["far", ADDRESS]
        assert oct((directory / "kubelet.key").stat().st_mode)[-3:] == "600"
        await clock.sleep(3 * YEAR)
        assert len(api.asked) >= 8, "and again, as long as it runs"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    loop = virtual_event_loop(clock)
    loop.run_until_complete(play())
    loop.close()


def test_what_was_broken_off_is_finished(tmp_path, clock):
    """A new certificate was stored, and the machine died before the kubeconfigs had it."""
    api = Authority(clock)
    directory = joined(tmp_path, api)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    renewals(directory, "far", ADDRESS, (api,), context, clock, random.Random(1))
    clock._now += 86400
    certificate, key = api.issue(kubelet_identity("far").subject, signing.CLIENT_USAGES)
    newer = signing.load_certificate(certificate).serial_number
    client_files(directory / "pki").store(certificate, key, clock.now())
    assert newer not in state(directory)
    renewals(directory, "far", ADDRESS, (api,), context, clock, random.Random(1))
    assert state(directory)[:2] == [newer, newer]
    assert api.transport.taken == [newer]
