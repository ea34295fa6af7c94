"""Every kind of credential, good and forged, through the whole union."""

import base64
import random

import orjson
import pytest
from auth_support import NOW, FakeReader, FixedClock, account, bearer, obj
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pybernetes.api.errors import StatusError
from pybernetes.api.resources import CONFIG_MAPS, NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from pybernetes.apiserver import authn
from pybernetes.apiserver.authn import jwt, tracking
from pybernetes.apiserver.authn.issuer import OpenIdDiscovery, TokenIssuer, legacy_token
from pybernetes.apiserver.composition import Options, compose
from pybernetes.client import signing
from pybernetes.client.signing import Subject
from pybernetes.concurrency import RealClock
from pybernetes.hooks.identity import ANONYMOUS, Credentials
from pybernetes.storage.memory import MemoryStore

ISSUER = authn.DEFAULT_ISSUER
SIGNER = jwt.Signer(signing.new_key())


class World:
    def __init__(self, signer=SIGNER, **options):
        self.clock = FixedClock()
        self.reader = FakeReader(
            account(),
            (PODS, obj("p", "ns", spec={"serviceAccountName": "default", "nodeName": "n1"})),
            (NODES, obj("n1")),
        )
        self.ca = signing.new_authority("kubernetes", now=NOW, lifetime=10 * 365 * 86400)
        self.proxy_ca = signing.new_authority("front-proxy-ca", now=NOW, lifetime=10 * 365 * 86400)
        self.issuer = TokenIssuer(signer, ISSUER, (ISSUER,), self.reader, self.clock)
        self.stack = authn.build(
            authn.AuthenticationOptions(
                client_ca=self.ca.pem,
                request_header_ca=self.proxy_ca.pem,
                service_account_keys=[signer.verification_key],
                **options,
            ),
            self.reader,
            self.clock,
        )

    def certificate(self, cn, *organizations, ca=None, now=NOW, lifetime=86400, usages=signing.CLIENT_USAGES):
        pem, _ = signing.issue(ca or self.ca, Subject(cn, organizations), usages, now=now, lifetime=lifetime)
        return signing.load_certificate(pem).public_bytes(serialization.Encoding.DER)

    async def ask(self, credentials):
        return await self.stack.authenticator.authenticate(credentials)

    async def refused(self, credentials):
        with pytest.raises(StatusError) as caught:
            await self.ask(credentials)
        assert (caught.value.code, caught.value.reason, caught.value.message) == (401, "Unauthorized", "Unauthorized")

    def token(self, spec=None, name="default"):
        return self.issuer.create("ns", name, {"spec": spec or {}})["status"]["token"]


@pytest.fixture
def world():
    return World()


def pod_ref(world):
    return {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}


# -- certificates ------------------------------------------------------------------------------------------------------


async def test_client_certificate(world):
    who = await world.ask(Credentials({}, world.certificate("jane", "dev", "ops")))
    assert (who.name, who.groups) == ("jane", ("dev", "ops", "system:authenticated"))
    assert who.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")


async def test_the_same_certificate_gives_the_same_value(world):
    der = world.certificate("jane")
    assert await world.ask(Credentials({}, der)) is await world.ask(Credentials({}, der))


async def test_foreign_authority_that_claims_masters(world):
    foreign = signing.new_authority("kubernetes", now=NOW, lifetime=86400)
    await world.refused(Credentials({}, world.certificate("root", "system:masters", ca=foreign)))


@pytest.mark.parametrize(("shift", "lifetime"), [(-2 * 86400, 86400), (86400, 86400)])
async def test_expired_and_future_certificates(world, shift, lifetime):
    await world.refused(Credentials({}, world.certificate("jane", now=NOW + shift, lifetime=lifetime)))


async def test_a_certificate_expires_while_it_is_cached(world):
    der = world.certificate("jane", lifetime=3600)
    await world.ask(Credentials({}, der))
    world.clock.time += 7200
    await world.refused(Credentials({}, der))


async def test_server_certificates_are_no_client_certificates(world):
    await world.refused(Credentials({}, world.certificate("jane", usages=signing.SERVER_USAGES)))


async def test_front_proxy_authority_does_not_vouch_for_users(world):
    await world.refused(Credentials({}, world.certificate("root", "system:masters", ca=world.proxy_ca)))


async def test_another_bundle_takes_effect_at_once(world):
    der = world.certificate("jane")
    await world.ask(Credentials({}, der))
    world.stack.client_verifier.load(world.proxy_ca.pem)
    await world.refused(Credentials({}, der))


async def test_garbage_certificate(world):
    await world.refused(Credentials({}, b"\x30\x03\x02\x01\x01"))


# -- front proxy -------------------------------------------------------------------------------------------------------

REMOTE = {
    "x-remote-user": "kim",
    "x-remote-group": "a\nb, c",
    "x-remote-uid": "7",
    "x-remote-extra-example.com%2fk": "v",
}


async def test_front_proxy_headers(world):
    who = await world.ask(Credentials(REMOTE, world.certificate("front-proxy-client", ca=world.proxy_ca)))
    assert (who.name, who.uid, who.groups) == ("kim", "7", ("a", "b, c", "system:authenticated"))
    assert who.extra == {"example.com/k": ("v",)}


async def test_front_proxy_headers_from_somebody_else(world):
    who = await world.ask(Credentials(REMOTE, world.certificate("jane")))
    assert who.name == "jane"
    assert await world.ask(Credentials(REMOTE)) is ANONYMOUS


async def test_front_proxy_client_must_have_an_allowed_name():
    world = World(request_header_allowed_names=("front-proxy-client",))
    await world.refused(Credentials(REMOTE, world.certificate("other", ca=world.proxy_ca)))
    assert (
        await world.ask(Credentials(REMOTE, world.certificate("front-proxy-client", ca=world.proxy_ca)))
    ).name == "kim"


# -- static and bootstrap tokens ---------------------------------------------------------------------------------------


async def test_token_file(tmp_path):
    path = tmp_path / "tokens.csv"
    path.write_text('secret,alice,1,"dev,ops"\n,nobody,2\nother,bob,3\n')
    world = World(token_file=str(path))
    assert (await world.ask(bearer("secret"))).groups == ("dev", "ops", "system:authenticated")
    assert (await world.ask(bearer("other"))).name == "bob"
    await world.refused(bearer("wrong"))
    await world.refused(bearer("secret2"))


def test_token_file_with_a_short_line(tmp_path):
    path = tmp_path / "tokens.csv"
    path.write_text("secret,alice\n")
    with pytest.raises(ValueError, match=r"must have at least 3 columns \(token, user name, user uid\), found 2"):
        World(token_file=str(path))


def bootstrap_secret(**changes):
    data = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token"} | changes  # fmt: skip
    encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    return obj("bootstrap-token-abcdef", "kube-system", type="bootstrap.kubernetes.io/token", data=encoded)


async def test_bootstrap_token(world):
    world.reader.put(SECRETS, bootstrap_secret())
    who = await world.ask(bearer("abcdef.0123456789abcdef"))
    assert who.name == "system:bootstrap:abcdef"
    assert who.groups == (
        "system:bootstrappers",
        "system:bootstrappers:kubeadm:default-node-token",
        "system:authenticated",
    )
    world.reader.delete(SECRETS, "kube-system", "bootstrap-token-abcdef")
    await world.refused(bearer("abcdef.0123456789abcdef"))


@pytest.mark.parametrize(
    "changes",
    [
        {"token-secret": "0123456789abcdee"},
        {"token-id": "abcdee"},
        {"usage-bootstrap-authentication": "false"},
        {"expiration": "2020-01-01T00:00:00Z"},
        {"expiration": "tomorrow"},
        {"auth-extra-groups": "system:masters"},
    ],
)
async def test_bootstrap_tokens_that_do_not_hold(world, changes):
    world.reader.put(SECRETS, bootstrap_secret(**changes))
    await world.refused(bearer("abcdef.0123456789abcdef"))


# -- ServiceAccount tokens ---------------------------------------------------------------------------------------------


async def test_bound_token(world):
    who = await world.ask(bearer(world.token(pod_ref(world))))
    assert who.name == "system:serviceaccount:ns:default"
    assert who.uid == "uid-1"
    assert who.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
    extra = {k.removeprefix("authentication.kubernetes.io/"): v for k, v in who.extra.items()}
    assert extra.pop("credential-id")[0].startswith("JTI=")
    assert extra == {"pod-name": ("p",), "pod-uid": ("uid-2",), "node-name": ("n1",), "node-uid": ("uid-3",)}


async def test_token_of_a_deleted_pod(world):
    token = world.token(pod_ref(world))
    await world.ask(bearer(token))
    world.reader.delete(PODS, "ns", "p")
    await world.refused(bearer(token))
    world.reader.put(PODS, obj("p", "ns", spec={"serviceAccountName": "default"}))
    await world.refused(bearer(token))


async def test_token_of_a_pod_that_is_being_deleted_ends_a_minute_later(world):
    token = world.token(pod_ref(world))
    await world.ask(bearer(token))
    world.reader.put(
        PODS, obj("p", "ns", meta={"deletionTimestamp": "2027-01-15T08:00:30Z"}, spec={"serviceAccountName": "default"})
    )
    assert NOW == 1_800_000_000.0
    await world.ask(bearer(token))
    world.clock.time = NOW + 91
    await world.refused(bearer(token))


async def test_a_pods_status_does_not_cost_its_token(world):
    token = world.token(pod_ref(world))
    await world.ask(bearer(token))
    world.reader.put(PODS, obj("p", "ns", spec={"serviceAccountName": "default"}, status={"phase": "Running"}))
    reads = world.reader.reads
    await world.ask(bearer(token))
    assert world.reader.reads == reads


async def test_token_of_a_deleted_or_recreated_account(world):
    token = world.token()
    await world.ask(bearer(token))
    world.reader.delete(SERVICE_ACCOUNTS, "ns", "default")
    await world.refused(bearer(token))
    world.reader.put(SERVICE_ACCOUNTS, obj("default", "ns"))
    await world.refused(bearer(token))


async def test_wrong_audience(world):
    await world.refused(bearer(world.token({"audiences": ["vault"]})))
    await world.ask(bearer(world.token({"audiences": ["vault", ISSUER]})))


async def test_expiry_with_a_minute_of_leeway(world):
    token = world.token({"expirationSeconds": 600})
    world.clock.time += 659
    await world.ask(bearer(token))
    world.clock.time += 2
    await world.refused(bearer(token))


async def test_not_yet_valid(world):
    token = world.token()
    world.clock.time -= 61
    await world.refused(bearer(token))


def forge(header, claims, sign):
    signed = ".".join(jwt.encode_segment(orjson.dumps(part)) for part in (header, claims))
    return f"{signed}.{jwt.encode_segment(sign(signed.encode()))}"


def claims_of(token):
    return orjson.loads(jwt.decode_segment(token.split(".")[1]))


def public_pem(signer):
    return signer.verification_key.public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hmac_of(key):
    def sign(data):
        mac = hmac.HMAC(key, hashes.SHA256())
        mac.update(data)
        return mac.finalize()

    return sign


async def test_forged_signatures(world):
    claims = claims_of(world.token())
    kid = SIGNER.verification_key.id
    await world.refused(bearer(forge({"alg": "none"}, claims, lambda d: b"")))
    await world.refused(bearer(forge({"alg": "none", "kid": kid}, claims, lambda d: b"")))
    for name in ("HS256", "ES256", "RS256"):
        await world.refused(bearer(forge({"alg": name, "kid": kid}, claims, hmac_of(public_pem(SIGNER)))))
        await world.refused(bearer(forge({"alg": name, "kid": kid}, claims, lambda d: bytes(64))))
    other = jwt.Signer(signing.new_key())
    await world.refused(bearer(other.sign(claims)))
    # Another's signature under our key's id.
    head, body, signature = other.sign(claims).split(".")
    head = jwt.encode_segment(orjson.dumps({"alg": "ES256", "kid": kid}))
    await world.refused(bearer(f"{head}.{body}.{signature}"))


async def test_changed_claims(world):
    head, _, signature = world.token().split(".")
    claims = claims_of(world.token()) | {"sub": "system:serviceaccount:kube-system:admin"}
    await world.refused(bearer(f"{head}.{jwt.encode_segment(orjson.dumps(claims))}.{signature}"))


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "..", "e30.e30.", "!!.!!.!!", "é.é.é", "e30.W10.x"])
async def test_garbage_tokens(world, token):
    if token:
        await world.refused(bearer(token))
    else:
        assert await world.ask(bearer(token)) is ANONYMOUS


async def test_wrong_types_in_claims_are_refused(world):
    for change in (
        {"exp": "soon"},
        {"nbf": []},
        {"kubernetes.io": 5},
        {"kubernetes.io": {"namespace": 1, "serviceaccount": []}},
    ):
        await world.refused(bearer(SIGNER.sign(claims_of(world.token()) | change)))


async def test_rsa_keys():
    signer = jwt.Signer(rsa.generate_private_key(65537, 2048))
    world = World(signer)
    token = world.token()
    assert orjson.loads(jwt.decode_segment(token.split(".")[0]))["alg"] == "RS256"
    await world.ask(bearer(token))
    await world.refused(
        bearer(
            forge({"alg": "HS256", "kid": signer.verification_key.id}, claims_of(token), hmac_of(public_pem(signer)))
        )
    )


async def test_stale_token_is_noted(world):
    token = world.token(pod_ref(world) | {"expirationSeconds": 3607})
    claims = claims_of(token)
    assert claims["exp"] - claims["iat"] == 365 * 86400
    assert claims["kubernetes.io"]["warnafter"] == claims["iat"] + 3607
    world.clock.time += 3607 + 10
    notes = {}
    await world.ask(bearer(token, annotations=notes))
    assert notes == {
        "authentication.k8s.io/stale-token": "subject: system:serviceaccount:ns:default, seconds after warning threshold: 10"
    }


async def test_legacy_token(world):
    secret = world.reader.put(SECRETS, obj("s", "ns", type="kubernetes.io/service-account-token"))
    token = legacy_token(SIGNER, world.reader.get(SERVICE_ACCOUNTS, "ns", "default"), secret)
    await world.refused(bearer(token))
    world.reader.put(SECRETS, secret | {"data": {"token": base64.b64encode(token.encode()).decode()}})
    notes, warnings = {}, []
    who = await world.ask(bearer(token, annotations=notes, warnings=warnings))
    assert who.name == "system:serviceaccount:ns:default"
    assert notes["authentication.k8s.io/legacy-token-manual-secret"] == "s" and not warnings
    world.reader.delete(SECRETS, "ns", "s")
    await world.refused(bearer(token))


async def test_legacy_token_marked_invalid(world):
    secret = world.reader.put(
        SECRETS, obj("s", "ns", meta={"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}})
    )
    token = legacy_token(SIGNER, world.reader.get(SERVICE_ACCOUNTS, "ns", "default"), secret)
    world.reader.put(SECRETS, secret | {"data": {"token": base64.b64encode(token.encode()).decode()}})
    await world.refused(bearer(token))


# -- the union ---------------------------------------------------------------------------------------------------------


async def test_anonymous_and_its_paths():
    world = World()
    assert await world.ask(Credentials({})) is ANONYMOUS
    world = World(anonymous_paths=("/livez",))
    assert await world.ask(Credentials({}, path="/livez")) is ANONYMOUS
    await world.refused(Credentials({}, path="/api"))
    await World(anonymous=False).refused(Credentials({}))


async def test_authorization_of_another_scheme_is_no_credential(world):
    assert await world.ask(Credentials({"authorization": "Basic YTpi"})) is ANONYMOUS


async def test_a_bad_token_beside_a_good_certificate(world):
    der = world.certificate("jane")
    assert (await world.ask(Credentials({"authorization": "Bearer wrong"}, der))).name == "jane"


async def test_websocket_token(world):
    prefix = "base64url.bearer.authorization.k8s.io."
    encoded = base64.urlsafe_b64encode(world.token().encode()).rstrip(b"=").decode()
    who = await world.ask(Credentials({}, websocket_protocols=(prefix + encoded, "v5.channel.k8s.io")))
    assert who.name == "system:serviceaccount:ns:default"
    await world.refused(Credentials({}, websocket_protocols=(prefix + encoded,)))
    await world.refused(Credentials({}, websocket_protocols=(prefix + encoded, prefix + encoded, "x")))
    await world.refused(Credentials({}, websocket_protocols=(prefix + "!", "x")))
    assert await world.ask(Credentials({}, websocket_protocols=("v5.channel.k8s.io",))) is ANONYMOUS


# -- issuing -----------------------------------------------------------------------------------------------------------


def test_token_request_answer(world):
    answer = world.issuer.create("ns", "default", {"spec": {"expirationSeconds": 600}, "metadata": {}})
    assert answer["status"]["expirationTimestamp"] == "2027-01-15T08:10:00Z"
    assert answer["spec"] == {"audiences": [ISSUER], "expirationSeconds": 600, "boundObjectRef": None}
    assert answer["metadata"] == {
        "name": "default",
        "namespace": "ns",
        "uid": "uid-1",
        "creationTimestamp": "2027-01-15T08:00:00Z",
    }
    claims = claims_of(answer["status"]["token"])
    assert set(claims) == {"aud", "exp", "iat", "iss", "jti", "kubernetes.io", "nbf", "sub"}
    assert claims["kubernetes.io"] == {"namespace": "ns", "serviceaccount": {"name": "default", "uid": "uid-1"}}


@pytest.mark.parametrize(
    ("name", "request_", "code", "message"),
    [
        ("none", {}, 404, 'serviceaccounts "none" not found'),
        ("default", {"spec": {"expirationSeconds": 599}}, 422, 'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes'),
        ("default", {"spec": {"expirationSeconds": 2**32 + 1}}, 422, 'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds'),
        ("default", {"metadata": {"name": "x"}}, 422, 'TokenRequest.authentication.k8s.io "default" is invalid: metadata.name: Invalid value: "x": must match the service account name if specified'),
        ("default", {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "q"}}}, 404, 'pods "q" not found'),
        ("default", {"spec": {"boundObjectRef": {"kind": "Job", "apiVersion": "batch/v1", "name": "q"}}}, 400, "cannot bind token to object of type batch/v1, Kind=Job"),
        ("default", {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "zz"}}}, 409, 'Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (zz) does not match the UID in record. The object might have been deleted and then recreated'),
        ("other", {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}}, 400, 'cannot bind token for serviceaccount "other" to pod running with different serviceaccount name.'),
    ],
)  # fmt: skip
def test_token_requests_that_fail(world, name, request_, code, message):
    world.reader.put(SERVICE_ACCOUNTS, obj("other", "ns"))
    with pytest.raises(StatusError) as caught:
        world.issuer.create("ns", name, request_)
    assert (caught.value.code, caught.value.message) == (code, message)


def test_discovery_lets_others_verify():
    discovery = OpenIdDiscovery(ISSUER, [SIGNER.verification_key], address="10.0.0.1:6443")
    assert orjson.loads(discovery.configuration) == {
        "issuer": ISSUER,
        "jwks_uri": "https://10.0.0.1:6443/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
    key = orjson.loads(discovery.keys)["keys"][0]
    assert {k: key[k] for k in ("use", "kty", "crv", "alg")} == {
        "use": "sig",
        "kty": "EC",
        "crv": "P-256",
        "alg": "ES256",
    }
    with pytest.raises(ValueError, match="must use https"):
        OpenIdDiscovery("http://a", [], address="b")


def test_key_files():
    key = signing.new_key()
    pem = signing.key_to_pem(key) + signing.public_key_to_pem(key)
    ca = signing.new_authority("x", now=NOW, lifetime=60, key=key)
    keys = jwt.load_verification_keys(pem + ca.pem)
    assert len(keys) == 3 and len({k.id for k in keys}) == 1
    with pytest.raises(ValueError, match="does not contain any valid"):
        jwt.load_verification_keys(b"")


# -- legacy tokens are tracked -----------------------------------------------------------------------------------------


async def test_since_when_legacy_tokens_are_tracked():
    clock = RealClock()
    server = compose(MemoryStore(clock), clock, random.Random(1), Options())
    await server.start()

    def since():
        return server.objects.get(CONFIG_MAPS, tracking.NAMESPACE, tracking.NAME)["data"]["since"]

    today = since()
    assert len(today) == len("2027-01-15")
    await tracking.ensure(server.loopback, server.objects, NOW)
    assert since() == today
    path = f"/api/v1/namespaces/{tracking.NAMESPACE}/configmaps/{tracking.NAME}"
    await server.loopback("PATCH", path, {"data": {"since": "long ago"}}, content_type="application/merge-patch+json")
    await tracking.ensure(server.loopback, server.objects, NOW)
    assert since() == "2027-01-15"
    await server.store.close()


@pytest.mark.parametrize(
    ("given", "expected"), [("0s", 0), ("1h", 3600), ("48h", 172800), ("59m", None), ("1200000h", None)]
)
def test_the_longest_life_of_a_token_by_its_flag(tmp_path, given, expected):
    from pybernetes.apiserver.command import apiserver, options_of

    args = ["--data-dir", str(tmp_path), "--service-account-max-token-expiration", given]
    params = apiserver.make_context("apiserver", [*args, "--service-account-extend-token-expiration=false"]).params
    if expected is None:
        with pytest.raises(ValueError, match="the service-account-max-token-expiration must be between 1 hour and 2"):
            options_of(params)
    else:
        assert (options_of(params).max_token_seconds, options_of(params).extend_tokens) == (expected, False)


@pytest.mark.parametrize(("given", "works"), [([], False), (["--enable-bootstrap-token-auth"], True)])
async def test_bootstrap_tokens_work_where_they_are_enabled(tmp_path, world, given, works):
    from pybernetes.apiserver.command import apiserver, options_of

    params = apiserver.make_context("apiserver", ["--data-dir", str(tmp_path), *given]).params
    world.reader.put(SECRETS, bootstrap_secret())
    world.stack = authn.build(options_of(params).authentication, world.reader, world.clock)
    if works:
        assert (await world.ask(bearer("abcdef.0123456789abcdef"))).name == "system:bootstrap:abcdef"
    else:
        await world.refused(bearer("abcdef.0123456789abcdef"))
