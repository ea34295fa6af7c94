"""Certificates, tokens, bootstrap tokens, service address ranges."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from pybernetes.api.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    CONFIG_MAPS,
    IP_ADDRESSES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICE_CIDRS,
)
from pybernetes.api.times import to_time
from pybernetes.client import signing
from pybernetes.controllers.serviceaccounttoken import jwt
from pybernetes.controllers.settings import Settings

from .helpers import condition


def b64(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def csr(
    name,
    common_name,
    signer=signing.KUBELET_CLIENT_SIGNER,
    usages=signing.CLIENT_USAGES,
    username=None,
    organizations=("system:nodes",),
    **spec,
):
    pem = signing.new_request(signing.new_key(), signing.Subject(common_name, tuple(organizations)))
    return {
        "metadata": {"name": name},
        "spec": {
            "request": b64(pem),
            "signerName": signer,
            "usages": list(usages),
            "username": username or common_name,
            "groups": ["system:nodes"],
            **spec,
        },
    }


@pytest.fixture
def authority(tmp_path):
    made = signing.new_authority("ca", now=1_690_000_000, lifetime=10 * 365 * 86400)
    (tmp_path / "ca.crt").write_bytes(made.pem)
    (tmp_path / "ca.key").write_bytes(signing.key_to_pem(made.key))
    return Settings(
        cluster_signing_cert_file=str(tmp_path / "ca.crt"),
        cluster_signing_key_file=str(tmp_path / "ca.key"),
        root_ca_file=str(tmp_path / "ca.crt"),
    )


def get(world, name):
    return world.api.get(CERTIFICATE_SIGNING_REQUESTS, "", name)


def review(world, allowed):
    """Answers SubjectAccessReviews."""
    create = world.api._create

    def answered(gvr, namespace, name, sub, body):
        if gvr.resource == "subjectaccessreviews":
            return {**body, "status": {"allowed": body["spec"]["resourceAttributes"]["subresource"] in allowed}}
        return create(gvr, namespace, name, sub, body)

    world.api._create = answered


NAMES = ("certificatesigningrequest-approving-controller", "certificatesigningrequest-signing-controller")


def test_a_kubelets_own_certificate_is_approved_and_signed(virtually, authority):
    async def main(world):
        review(world, {"selfnodeclient"})

        async def body():
            world.api.create(CERTIFICATE_SIGNING_REQUESTS, csr("own", "system:node:n1", expirationSeconds=86400))
            world.api.create(CERTIFICATE_SIGNING_REQUESTS, csr("foreign", "system:node:n1", username="somebody"))
            world.api.create(CERTIFICATE_SIGNING_REQUESTS, csr("no-node", "alice"))
            await world.settle()
            assert condition(get(world, "own"), "Approved") == ("True", "AutoApproved")
            certificate = signing.load_certificate(base64.b64decode(get(world, "own")["status"]["certificate"]))
            assert signing.common_name(certificate.subject) == "system:node:n1"
            assert (certificate.not_valid_after_utc.timestamp() - world.clock.now()) == pytest.approx(
                86400 - signing.BACKDATE, abs=2
            )
            assert "status" not in get(world, "foreign") and "status" not in get(world, "no-node")

        await world.managed(body, *NAMES, settings=authority)

    virtually(main)


def test_what_the_signer_refuses_fails_and_others_are_left(virtually, authority):
    approved = {"status": {"conditions": [{"type": "Approved", "status": "True"}]}}

    async def main(world):
        async def body():
            world.api.create(
                CERTIFICATE_SIGNING_REQUESTS,
                {**csr("bad", "x", signing.CLIENT_SIGNER, signing.SERVER_USAGES), **approved},
            )
            world.api.create(CERTIFICATE_SIGNING_REQUESTS, {**csr("alien", "x", "example.com/signer"), **approved})
            world.api.create(CERTIFICATE_SIGNING_REQUESTS, {**csr("good", "x", signing.CLIENT_SIGNER), **approved})
            await world.settle()
            assert condition(get(world, "bad"), "Failed") == ("True", "SignerValidationFailure")
            assert "certificate" not in get(world, "alien")["status"] and get(world, "good")["status"]["certificate"]

        await world.managed(body, *NAMES, settings=authority)

    virtually(main)


def test_old_requests_go(virtually):
    async def main(world):
        old = to_time(world.clock.now() - 4000)

        async def body():
            for name, kind in (("denied", "Denied"), ("fresh", "Denied"), ("waiting", "Approved")):
                made = csr(name, "x")
                stamp = to_time(world.clock.now()) if name == "fresh" else old
                made["status"] = {"conditions": [{"type": kind, "status": "True", "lastUpdateTime": stamp}]}
                world.api.create(CERTIFICATE_SIGNING_REQUESTS, made)
            world.api.create(CERTIFICATE_SIGNING_REQUESTS, csr("pending", "x"))
            await world.settle(1)
            names = {r["metadata"]["name"] for r in world.api.all(CERTIFICATE_SIGNING_REQUESTS)}
            assert names == {"fresh", "waiting", "pending"}
            await world.settle(25 * 3600)
            assert world.api.all(CERTIFICATE_SIGNING_REQUESTS) == []

        await world.managed(body, "certificatesigningrequest-cleaner-controller")

    virtually(main)


def decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())])
def test_tokens_verify(key):
    token = jwt.sign(key, jwt.legacy_claims("ns", "secret", "sa", "uid"))
    header, payload, signature = token.split(".")
    assert json.loads(decode(payload))["sub"] == "system:serviceaccount:ns:sa"
    signed, raw = f"{header}.{payload}".encode(), decode(signature)
    if isinstance(key, rsa.RSAPrivateKey):
        assert json.loads(decode(header))["alg"] == "RS256"
        key.public_key().verify(raw, signed, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert json.loads(decode(header))["alg"] == "ES256" and len(raw) == 64
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        key.public_key().verify(der, signed, ec.ECDSA(hashes.SHA256()))


def test_token_secrets_are_filled_and_go_with_their_account(virtually, authority, tmp_path):
    (tmp_path / "sa.key").write_bytes(signing.key_to_pem(signing.new_key()))
    settings = Settings(root_ca_file=authority.root_ca_file, service_account_private_key_file=str(tmp_path / "sa.key"))

    async def main(world):
        async def body():
            world.api.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "default"}})
            world.api.create(
                SECRETS,
                {
                    "type": "kubernetes.io/service-account-token",
                    "metadata": {
                        "name": "t",
                        "namespace": "default",
                        "annotations": {"kubernetes.io/service-account.name": "robot"},
                    },
                },
            )
            await world.settle()
            found = world.api.get(SECRETS, "default", "t")
            assert (
                set(found["data"]) == {"ca.crt", "namespace", "token"}
                and base64.b64decode(found["data"]["namespace"]) == b"default"
            )
            assert found["metadata"]["annotations"]["kubernetes.io/service-account.uid"]
            world.api.remove(SERVICE_ACCOUNTS, "default", "robot")
            await world.settle()
            assert world.api.all(SECRETS) == []

        await world.managed(body, "serviceaccount-token-controller", settings=settings)

    virtually(main)


def bootstrap_token(identity, **data):
    fields = {"token-id": identity, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true", **data}
    return {
        "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": f"bootstrap-token-{identity}", "namespace": "kube-system"},
        "data": {k: b64(v) for k, v in fields.items()},
    }


def test_bootstrap_tokens_sign_and_expire(virtually):
    async def main(world):
        async def body():
            world.api.create(
                CONFIG_MAPS,
                {
                    "metadata": {"name": "cluster-info", "namespace": "kube-public"},
                    "data": {"kubeconfig": "content", "jws-kubeconfig-gone00": "x"},
                },
            )
            world.api.create(SECRETS, bootstrap_token("abcdef"))
            world.api.create(SECRETS, bootstrap_token("expire", expiration=to_time(world.clock.now() + 60)))
            world.api.create(SECRETS, bootstrap_token("silent", **{"usage-bootstrap-signing": "false"}))
            await world.settle(1)

            def data():
                return world.api.get(CONFIG_MAPS, "kube-public", "cluster-info")["data"]

            assert set(data()) == {"kubeconfig", "jws-kubeconfig-abcdef", "jws-kubeconfig-expire"}
            header, empty, signature = data()["jws-kubeconfig-abcdef"].split(".")
            assert json.loads(decode(header)) == {"alg": "HS256", "kid": "abcdef"} and empty == ""
            payload = base64.urlsafe_b64encode(b"content").rstrip(b"=").decode()
            expected = hmac.new(b"0123456789abcdef", f"{header}.{payload}".encode(), hashlib.sha256).digest()
            assert decode(signature) == expected
            await world.settle(70)
            assert set(data()) == {"kubeconfig", "jws-kubeconfig-abcdef"}
            assert len(world.api.all(SECRETS)) == 2

        await world.managed(body, "token-cleaner-controller", "bootstrap-signer-controller")

    virtually(main)


def test_a_range_in_use_stays(virtually):
    async def main(world):
        async def body():
            world.api.create(SERVICE_CIDRS, {"metadata": {"name": "a"}, "spec": {"cidrs": ["10.1.0.0/24"]}})
            label = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
            world.api.create(IP_ADDRESSES, {"metadata": {"name": "10.1.0.7", "labels": label}})
            await world.settle()

            def found(name="a"):
                return world.api.get(SERVICE_CIDRS, "", name)

            assert condition(found(), "Ready") == ("True", "") and found()["metadata"]["finalizers"]
            world.api.remove(SERVICE_CIDRS, "", "a")
            await world.settle(30)
            assert condition(found(), "Ready") == ("False", "Terminating")
            # Another range that covers the address lets it go.
            world.api.create(SERVICE_CIDRS, {"metadata": {"name": "b"}, "spec": {"cidrs": ["10.1.0.0/16"]}})
            await world.settle(30)
            assert [r["metadata"]["name"] for r in world.api.all(SERVICE_CIDRS)] == ["b"]
            world.api.remove(SERVICE_CIDRS, "", "b")
            await world.settle(30)
            world.api.remove(IP_ADDRESSES, "", "10.1.0.7")
            await world.settle(30)
            assert world.api.all(SERVICE_CIDRS) == []

        await world.managed(body, "service-cidr-controller")

    virtually(main)
