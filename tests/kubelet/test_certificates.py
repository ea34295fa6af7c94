"""TLS bootstrap and rotation on virtual time: real API server, approving and signing controllers."""

import asyncio
import base64
import random
import ssl
from contextlib import asynccontextmanager

import pytest
import yaml

from pybernetes.api.resources import CERTIFICATE_SIGNING_REQUESTS, SECRETS
from pybernetes.client import kubeconfig, signing
from pybernetes.controllers.manager import ControllerManager
from pybernetes.controllers.settings import Settings
from pybernetes.hooks.identity import LOOPBACK, UserInfo
from pybernetes.kubelet import identity
from pybernetes.kubelet.certificates import (
    EARLIEST,
    JITTER,
    CertificateFiles,
    CertificateManager,
    client_certificate,
    serving_certificate,
)  # fmt: skip
from pybernetes.testing import run_virtually, start_cluster

BOOTSTRAPPERS = ("system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated")
NEWCOMER = UserInfo("system:bootstrap:abcdef", groups=BOOTSTRAPPERS)
NODE = UserInfo("system:node:n1", groups=("system:nodes", "system:authenticated"))
DAY, HOUR = 86400.0, 3600.0


@asynccontextmanager
async def signing_cluster(clock, tmp_path, **options):
    authority = signing.new_authority("ca", now=clock.now() - 10, lifetime=10 * 365 * DAY)
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    (tmp_path / "ca.key").write_bytes(signing.key_to_pem(authority.key))
    settings = Settings(
        cluster_signing_cert_file=str(tmp_path / "ca.crt"),
        cluster_signing_key_file=str(tmp_path / "ca.key"),
        cluster_signing_duration=2 * HOUR,
        kubelet_serving_approval=True,
    )
    async with start_cluster(clock=clock, seed=1, controllers=(), **options) as cluster:
        manager = ControllerManager(
            cluster.client_as(LOOPBACK), clock, settings=settings, controllers=("certificatesigningrequest-approving-controller", "certificatesigningrequest-signing-controller", "certificatesigningrequest-cleaner-controller")
        )  # fmt: skip
        running = asyncio.ensure_future(manager.run())
        try:
            yield cluster, authority
        finally:
            running.cancel()
            await asyncio.wait([running])


def loaded(files):
    return signing.load_certificate(files.current.read_bytes())


def test_a_newcomer_gets_its_certificate_and_nobody_elses(tmp_path):
    async def main(clock):
        async with signing_cluster(clock, tmp_path) as (cluster, authority):
            files = identity.client_files(tmp_path / "pki")
            client = cluster.client_as(NEWCOMER)
            await CertificateManager(
                client, clock, files, lambda: client_certificate("n1"), rng=random.Random(1)
            ).ensure()
            made = loaded(files)
            made.verify_directly_issued_by(authority.certificate)
            assert signing.common_name(made.subject) == "system:node:n1"
            assert signing.organizations(made.subject) == ["system:nodes"]
            ssl.create_default_context().load_cert_chain(files.current)  # certificate and key belong together
            assert files.current.stat().st_mode & 0o777 == 0o600
            # A newcomer may not have a serving certificate, and one who is nobody gets nothing.
            serving = serving_certificate("n1", ("n1", "10.0.0.1"))
            for who, wanted in (
                (NEWCOMER, serving),
                (UserInfo("eve", groups=("system:authenticated",)), client_certificate("n1")),
            ):
                other = CertificateFiles(tmp_path / "other", "x")
                asking = asyncio.ensure_future(
                    CertificateManager(cluster.client_as(who), clock, other, lambda w=wanted: w, rng=random.Random(1)).ensure()
                )  # fmt: skip
                await clock.sleep(20 * 60)
                assert not asking.done() and other.validity() is None
                asking.cancel()
                await asyncio.wait([asking])

    run_virtually(main)


def test_certificates_are_exchanged_long_before_they_end(tmp_path):
    async def main(clock):
        async with signing_cluster(clock, tmp_path) as (cluster, _):
            told = []
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            node = cluster.client_as(NODE)
            rng = random.Random(5)
            managers = (
                CertificateManager(
                    node, clock, identity.client_files(tmp_path / "pki"), lambda: client_certificate("n1"), rng=rng,
                    changed=told.append,
                ),
                identity.serving_manager(node, "n1", ("n1", "10.0.0.1"), tmp_path / "pki", context, clock, rng),
            )  # fmt: skip
            tasks = [asyncio.ensure_future(m.run()) for m in managers]
            lives = {}
            for _ in range(12 * 6):
                await clock.sleep(600)
                for files in (identity.client_files(tmp_path / "pki"), identity.serving_files(tmp_path / "pki")):
                    begins, ends = files.validity()
                    assert begins <= clock.now() < ends - (1 - EARLIEST - JITTER) * (ends - begins) + 60
                    lives.setdefault(files.current.name, set()).add(loaded(files).serial_number)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            # Two hours each, twelve hours, exchanged after 0.7 to 0.9 of that.
            assert {name: 12 / 1.9 <= len(serials) <= 12 / 1.4 + 1 for name, serials in lives.items()} == {
                "kubelet-client-current.pem": True,
                "kubelet-server-current.pem": True,
            }
            assert len(told) == len(lives["kubelet-client-current.pem"])
            # What was answered long ago is cleaned away.
            left = (await cluster.client.list(CERTIFICATE_SIGNING_REQUESTS))["items"]
            assert len(left) <= 4

    run_virtually(main)


def test_an_approver_who_says_no(tmp_path):
    async def main(clock):
        async with start_cluster(clock=clock, seed=1, controllers=()) as cluster:
            files = identity.client_files(tmp_path)
            manager = CertificateManager(
                cluster.client_as(NEWCOMER), clock, files, lambda: client_certificate("n1"), rng=random.Random(1)
            )
            asking = asyncio.ensure_future(manager.ensure())
            await clock.sleep(3)
            [request] = (await cluster.client.list(CERTIFICATE_SIGNING_REQUESTS))["items"]
            denial = {"type": "Denied", "status": "True", "reason": "No", "message": "go away"}
            request["status"] = {"conditions": [denial]}
            await cluster.client.update(CERTIFICATE_SIGNING_REQUESTS, request, subresource="approval")
            await clock.sleep(10)
            # It asks again, later and later.
            assert len((await cluster.client.list(CERTIFICATE_SIGNING_REQUESTS))["items"]) == 2
            assert not asking.done() and files.validity() is None
            asking.cancel()
            await asyncio.wait([asking])

    run_virtually(main)


def test_files_that_are_none(tmp_path):
    files = CertificateFiles(tmp_path / "pki", "kubelet-client")
    assert files.validity() is None
    authority = signing.new_authority("ca", now=0.0, lifetime=DAY)
    certificate, key = signing.issue(authority, signing.Subject("n"), signing.CLIENT_USAGES, now=0.0, lifetime=3600.0)
    files.store(certificate, key, 100.0)
    first = files.current.resolve()
    files.store(certificate, key, 200.0)
    assert first.exists() and files.current.resolve() != first
    assert files.current.resolve().name == "kubelet-client-1970-01-01-00-03-20.pem"
    for broken in (b"", certificate, key, b"garbage"):
        files.current.resolve().write_bytes(broken)
        assert files.validity() is None


async def test_from_a_bootstrap_kubeconfig_to_one_of_its_own(tmp_path):
    """Over HTTP with a real bootstrap token; the second start asks nobody."""
    from pybernetes.concurrency import RealClock

    clock = RealClock()
    async with signing_cluster(clock, tmp_path, http=True) as (cluster, authority):
        data = {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        }  # fmt: skip
        secret = {
            "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
            "type": "bootstrap.kubernetes.io/token",
            "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
        }
        await cluster.client.create(SECRETS, secret)
        document = kubeconfig.document_for(cluster.url, cluster.ca, user="b", token="abcdef.0123456789abcdef")
        kubeconfig.write(tmp_path / "bootstrap", document)
        target = tmp_path / "kubelet.conf"
        arguments = ("n1", target, str(tmp_path / "bootstrap"), tmp_path / "pki", clock, random.Random(1))
        await identity.bootstrap(*arguments)
        written = yaml.safe_load(target.read_text())
        assert written["users"] == [
            {
                "name": "default-auth",
                "user": {
                    "client-certificate": str(tmp_path / "pki/kubelet-client-current.pem"),
                    "client-key": str(tmp_path / "pki/kubelet-client-current.pem"),
                },
            }
        ]
        assert written["clusters"] == document["clusters"] and "token" not in target.read_text()
        loaded(identity.client_files(tmp_path / "pki")).verify_directly_issued_by(authority.certificate)
        kubeconfig.client_from_kubeconfig(target).transport.close()
        await cluster.client.delete(SECRETS, "bootstrap-token-abcdef", "kube-system")
        await identity.bootstrap(*arguments)
    with pytest.raises(kubeconfig.KubeconfigError):
        kubeconfig.client_from_kubeconfig(tmp_path / "missing")
