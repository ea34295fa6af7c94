"""``--authentication-config`` and ``--oidc-*``: issuers of tokens, and who is anonymous."""

import asyncio
import ssl

import orjson
import pytest
from attack_support import attacked_server
from auth_support import NOW, FakeReader, FixedClock, account, bearer
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from pybernetes.api.errors import StatusError
from pybernetes.apiserver import authn
from pybernetes.apiserver.authn import configuration, jwt
from pybernetes.apiserver.authn.jwt import TokenError, encode_segment
from pybernetes.apiserver.authn.oidc import FetchError, Issuers
from pybernetes.apiserver.authn.webkeys import parse_key_set
from pybernetes.apiserver.command import apiserver
from pybernetes.client import signing
from pybernetes.client.signing import Subject
from pybernetes.concurrency import RealClock, VirtualClock, virtual_event_loop
from pybernetes.hooks.identity import ANONYMOUS, Credentials

HEAD = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
URL = "https://issuer.example"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
INVALID = "invalid authentication configuration: "


def document(**fields):
    return orjson.dumps(HEAD | fields)


def entry(url=URL, issuer=None, username=None, **more):
    mappings = {"username": username or {"claim": "sub", "prefix": ""}} | more.pop("mappings", {})
    return {"issuer": {"url": url, "audiences": ["me"]} | (issuer or {}), "claimMappings": mappings, **more}


def problem_of(data, own=()):
    with pytest.raises(ValueError, match=r"\w") as failure:
        configuration.parse(data, "f.yaml", own)
    return str(failure.value)


# What kube-apiserver v1.36 says of the same files.
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", 'failed to load authentication configuration from file "f.yaml": empty config data'),
        (
            document(anonymous={"enabled": False, "conditions": [{"path": "/livez"}]}),
            f'{INVALID}anonymous.conditions: Invalid value: [{{"Path":"/livez"}}]: '
            "enabled should be set to true when conditions are defined",
        ),
        (
            document(jwt=5),
            'failed to load authentication configuration from file "f.yaml": json: cannot unmarshal number into Go struct field '
            "AuthenticationConfiguration.jwt of type []v1.JWTAuthenticator",
        ),
        (
            document(anonymous={"enabled": True, "foo": 1}),
            'failed to load authentication configuration from file "f.yaml": strict decoding error: unknown field "anonymous.foo"',
        ),
        (
            document(jwt=[{}]),
            f"{INVALID}[jwt[0].issuer.url: Required value, "
            "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required, "
            "jwt[0].claimMappings.username: Required value: claim or expression is required]",
        ),
    ],
)
def test_whole_messages(data, words):
    assert problem_of(data) == words


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (entry("http://a"), '.issuer.url: Invalid value: "http://a": URL scheme must be https'),
        (entry("https://u:p@a/"), ".issuer.url: Invalid value: \"https://u:p@a/\": URL must not contain a username or password"),
        (entry("https://a/?q"), ".issuer.url: Invalid value: \"https://a/?q\": URL must not contain a query"),
        (entry("https://a/#f"), ".issuer.url: Invalid value: \"https://a/#f\": URL must not contain a fragment"),
        (entry("https://own"), ".issuer.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: [https://own]"),
        (
            entry(issuer={"discoveryURL": URL + "/"}),
            f'.issuer.discoveryURL: Invalid value: "{URL}/": discoveryURL must be different from URL',
        ),
        (
            entry(issuer={"audiences": ["a", "b"]}),
            '.issuer.audienceMatchPolicy: Invalid value: "": audienceMatchPolicy must be MatchAny for multiple audiences',
        ),
        (
            entry(issuer={"audienceMatchPolicy": "Foo"}),
            '.issuer.audienceMatchPolicy: Invalid value: "Foo": audienceMatchPolicy must be empty or MatchAny for single audience',
        ),
        (entry(issuer={"audiences": ["a", "a"], "audienceMatchPolicy": "MatchAny"}), '.issuer.audiences[1]: Duplicate value: "a"'),
        (
            entry(issuer={"certificateAuthority": "x"}),
            '.issuer.certificateAuthority: Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates',
        ),
        (entry(issuer={"egressSelectorType": "x"}), "egress selector must be either controlplane or cluster"),
        (entry(username={"claim": "sub"}), ".username.prefix: Required value: prefix is required when claim is set. "),
        (entry(username={"claim": "a", "expression": "b"}), ".username: Invalid value: \"\": claim and expression can't both be set"),
        (entry(username={"expression": "claims.a", "prefix": "x"}), ".username.prefix: Invalid value: \"x\": may not be specified when"),
        (
            entry(mappings={"groups": {"expression": "claims.("}}),
            "ERROR: <input>:1:8: Syntax error: no viable alternative at input '.('\n | claims.(\n | .......^",
        ),
        (
            entry(mappings={"extra": [{"key": "foo", "valueExpression": "claims.a"}]}),
            '.extra[0].key: Invalid value: "foo": must be a domain-prefixed path (such as "acme.io/foo")',
        ),
        (
            entry(mappings={"extra": [{"key": "kubernetes.io/a", "valueExpression": "claims.a"}]}),
            '.extra[0].key: Invalid value: "kubernetes.io/a": k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use',
        ),
        (entry(mappings={"extra": [{"key": "a.com/A", "valueExpression": "claims.a"}]}), '"a.com/A": must be lowercase'),
        (entry(mappings={"extra": [{"key": "a.com/a"}]}), ".extra[0].valueExpression: Required value"),
        (entry(mappings={"uid": {"claim": "a", "expression": "b"}}), ".uid: Invalid value: \"\": claim and expression can't both be set"),
        (entry(claimValidationRules=[{}]), ".claimValidationRules[0]: Required value: claim or expression is required"),
        (entry(claimValidationRules=[{"expression": "claims.a"}]), '.expression: Invalid value: "claims.a": must evaluate to bool'),
        (entry(claimValidationRules=[{"claim": "a", "message": "m"}]), '.message: Invalid value: "m": may not be specified when claim'),
        (entry(userValidationRules=[{"expression": "user.foo == 1"}]), "ERROR: <input>:1:5: undefined field 'foo'"),
        (entry(userValidationRules=[{"expression": "user.username"}]), "must evaluate to bool"),
        (entry(username={"expression": "claims.email"}), f'"claims.email": {configuration.UNVERIFIED_EMAIL}'),
        (entry(username={"expression": "claims.?email.orValue('x')"}), configuration.UNVERIFIED_EMAIL),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_issuer(given, words):
    assert words in problem_of(document(jwt=[given]), ("https://own",))


def test_issuers_and_mails_that_are_good():
    verified = "claims.?email_verified.orValue(true) == true"
    good = entry(username={"expression": "claims.email"}, claimValidationRules=[{"expression": verified}])
    assert len(configuration.parse(document(jwt=[good]), "").issuers) == 1
    assert f'jwt[1].issuer.url: Duplicate value: "{URL}"' in problem_of(document(jwt=[entry(), entry()]))
    assert "jwt: Too many: 65: must have at most 64 items" in problem_of(
        document(jwt=[entry(f"https://{n}") for n in range(65)])
    )


# -- tokens ------------------------------------------------------------------------------------------------------------


def jwk(key, kid):
    public = key.public_key()
    numbers = public.public_numbers()
    text = {n: encode_segment(v.to_bytes((v.bit_length() + 7) // 8, "big")) for n, v in vars_of(numbers)}
    kind = {"kty": "RSA"} if isinstance(numbers, rsa.RSAPublicNumbers) else {"kty": "EC", "crv": "P-256"}
    return {**kind, **text, "kid": kid, "use": "sig"}


def vars_of(numbers):
    names = ("n", "e") if isinstance(numbers, rsa.RSAPublicNumbers) else ("x", "y")
    return [(n, getattr(numbers, n)) for n in names]


def signed(key, algorithm, claims, kid="k", **header):
    head = encode_segment(orjson.dumps({"alg": algorithm, "kid": kid, **header}))
    data = f"{head}.{encode_segment(orjson.dumps(claims))}"
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}.get(algorithm[-3:])
    if algorithm.startswith("RS"):
        signature = key.sign(data.encode(), padding.PKCS1v15(), digest)
    elif algorithm.startswith("PS"):
        signature = key.sign(data.encode(), padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    elif algorithm.startswith("ES"):
        r, s = decode_dss_signature(key.sign(data.encode(), ec.ECDSA(digest)))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    elif algorithm == "HS256":
        secret = RSA.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(data.encode())
        signature = mac.finalize()
    else:
        signature = b""
    return f"{data}.{encode_segment(signature)}"


class Provider:
    """What an issuer publishes."""

    def __init__(self, url=URL, **keys):
        self.url, self.keys, self.asked, self.down = url, keys or {"k": RSA, "c": CURVE}, [], False
        self.discovery = {"issuer": url, "jwks_uri": f"{url}/keys"}

    async def fetch(self, url, authority):
        self.asked.append(url)
        await asyncio.sleep(0)
        if self.down:
            raise FetchError("down")
        if url.endswith("openid-configuration"):
            return orjson.dumps(self.discovery)
        return orjson.dumps({"keys": [jwk(k, n) for n, k in self.keys.items()] + [{"kty": "oct", "k": "x"}]})


CLAIMS = {"iss": URL, "aud": "me", "sub": "jane", "exp": NOW + 600, "iat": NOW}


async def issuers(provider, *entries, clock=None, **more):
    made = Issuers(entries or (entry(),), clock or FixedClock(), provider.fetch, "id", **more)
    await made._ask(made._current)
    return made


async def user_by(claims, **more):
    provider = Provider()
    found = await (await issuers(provider, entry(**more))).authenticate_token(signed(RSA, "RS256", CLAIMS | claims), ())
    return found.user


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256"])
async def test_all_algorithms_with_the_key_that_belongs_to_them(algorithm):
    key, kid = (CURVE, "c") if algorithm.startswith("ES") else (RSA, "k")
    made = await issuers(Provider())
    found = await made.authenticate_token(signed(key, algorithm, CLAIMS, kid), ())
    assert found.user.name == "jane"
    found = await made.authenticate_token(signed(key, algorithm, CLAIMS, ""), ())
    assert found.user.name == "jane"


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (signed(RSA, "none", CLAIMS), "unsupported algorithm"),
        (signed(RSA, "HS256", CLAIMS), "unsupported algorithm"),
        (signed(OTHER, "ES256", CLAIMS, "c"), "failed to verify id token signature"),
        (signed(CURVE, "ES256", CLAIMS, "k"), "failed to verify id token signature"),
        (signed(CURVE, "ES256", CLAIMS, "unknown"), "failed to verify id token signature"),
        (signed(RSA, "RS256", CLAIMS, crit=["x"]), "unsupported algorithm"),
        (signed(RSA, "RS256", CLAIMS | {"aud": "you"}), 'expected audience "me" got ["you"]'),
        (signed(RSA, "RS256", CLAIMS | {"aud": 5}), "expected audience"),
        (signed(RSA, "RS256", CLAIMS | {"exp": NOW - 1}), "token is expired"),
        (signed(RSA, "RS256", {k: v for k, v in CLAIMS.items() if k != "exp"}), "token is expired"),
        (signed(RSA, "RS256", CLAIMS | {"exp": "soon"}), "exp is not a number"),
        (signed(RSA, "RS256", CLAIMS | {"nbf": NOW + 301}), "before the nbf"),
        (signed(RSA, "RS256", CLAIMS | {"sub": 5}), "the claim is not a string"),
        (signed(RSA, "RS256", CLAIMS)[:-8] + "AAAAAAAA", "failed to verify id token signature"),
    ],
)
async def test_tokens_that_do_not_hold(token, words):
    made = await issuers(Provider())
    with pytest.raises(TokenError, match=r"oidc: ") as failure:
        await made.authenticate_token(token, ())
    assert words in str(failure.value)


async def test_tokens_of_others_are_not_looked_at():
    made = await issuers(Provider())
    assert await made.authenticate_token(signed(RSA, "RS256", CLAIMS | {"iss": "https://x"}), ()) is None
    assert await made.authenticate_token("a.b", ()) is None


async def test_claims_become_a_user():
    user = await user_by(
        {"groups": ["a", "b"], "id": "7", "jti": "j", "tenant": "t"},
        username={"claim": "sub", "prefix": "oidc:"},
        mappings={
            "groups": {"claim": "groups", "prefix": "oidc:"},
            "uid": {"claim": "id"},
            "extra": [
                {"key": "example.com/tenant", "valueExpression": "claims.tenant"},
                {"key": "example.com/none", "valueExpression": "''"},
                {"key": "example.com/all", "valueExpression": "claims.groups + ['']"},
            ],
        },
    )
    assert (user.name, user.groups, user.uid) == ("oidc:jane", ("oidc:a", "oidc:b"), "7")
    assert user.extra == {
        "authentication.kubernetes.io/credential-id": ("JTI=j",),
        "example.com/tenant": ("t",),
        "example.com/all": ("a", "b"),
    }
    user = await user_by(
        {"roles": "admin,dev", "exp": NOW + 60},
        username={"expression": "'x:' + claims.sub"},
        mappings={
            "groups": {"expression": "claims.roles.split(',')"},
            "uid": {"expression": "string(type(claims.exp) == double)"},
        },
    )
    assert (user.name, user.groups, user.uid) == ("x:jane", ("admin", "dev"), "true")
    assert (await user_by({"role": "one"}, mappings={"groups": {"claim": "role", "prefix": ""}})).groups == ("one",)


@pytest.mark.parametrize(
    ("claims", "more", "words"),
    [
        ({}, {"username": {"claim": "name", "prefix": ""}}, 'parse username claims "name": claim not present'),
        ({"email": "e", "email_verified": False}, {"username": {"claim": "email", "prefix": ""}}, "email not verified"),
        (
            {"email": "e", "email_verified": "yes"},
            {"username": {"claim": "email", "prefix": ""}},
            "parse 'email_verified'",
        ),
        ({}, {"username": {"expression": "''"}}, "empty username via CEL expression is not allowed"),
        ({}, {"username": {"expression": "claims.exp"}}, "username claim expression must return a string"),
        ({}, {"username": {"expression": "claims.nothing"}}, "no such key: nothing"),
        ({"g": 5}, {"mappings": {"groups": {"claim": "g", "prefix": ""}}}, 'parse groups claim "g"'),
        ({"g": [5]}, {"mappings": {"groups": {"expression": "claims.g"}}}, "must return a string or a list of strings"),
        ({}, {"mappings": {"uid": {"claim": "id"}}}, "parse uid claim"),
        (
            {},
            {"claimValidationRules": [{"claim": "hd", "requiredValue": "x"}]},
            "required claim hd not present in ID token",
        ),
        (
            {"hd": "y"},
            {"claimValidationRules": [{"claim": "hd", "requiredValue": "x"}]},
            "required claim hd value does not match. Got = y, want = x",
        ),
        (
            {},
            {"claimValidationRules": [{"expression": "claims.exp - claims.iat <= 60.0", "message": "too long"}]},
            "validation expression 'claims.exp - claims.iat <= 60.0' failed: too long",
        ),
        (
            {"sub": "system:admin"},
            {"userValidationRules": [{"expression": "!user.username.startsWith('system:')", "message": "reserved"}]},
            "failed: reserved",
        ),
    ],
)
async def test_claims_that_make_no_user(claims, more, words):
    with pytest.raises(TokenError, match="oidc: ") as failure:
        await user_by(claims, **more)
    assert words in str(failure.value)


async def test_keys_are_fetched_when_they_are_needed_and_once_for_many():
    provider = Provider()
    made = await issuers(provider)
    assert provider.asked == [f"{URL}/.well-known/openid-configuration"]
    token = signed(RSA, "RS256", CLAIMS)
    await asyncio.gather(*(made.authenticate_token(token, ()) for _ in range(20)))
    await made.authenticate_token(token, ())
    assert provider.asked.count(f"{URL}/keys") == 1
    provider.keys = {"k2": CURVE}
    assert (await made.authenticate_token(signed(CURVE, "ES256", CLAIMS, "k2"), ())).user.name == "jane"
    with pytest.raises(TokenError):
        await made.authenticate_token(token, ())
    provider.down = True
    with pytest.raises(TokenError, match="get keys failed: down"):
        await made.authenticate_token(token, ())
    text = "\n".join(made.lines())
    assert 'jwks_fetch_last_timestamp_seconds{result="failure"' in text
    assert 'jwks_fetch_last_key_set_info{jwt_issuer_hash="sha256:' in text
    assert 'jwt_authenticator_latency_seconds_count{result="success"' in text


async def test_a_token_is_taken_for_granted_for_ten_seconds_at_most():
    made = await issuers(Provider())
    assert (await made.authenticate_token(signed(RSA, "RS256", CLAIMS), ())).expires == NOW + 10
    assert (await made.authenticate_token(signed(RSA, "RS256", CLAIMS | {"exp": NOW + 3}), ())).expires == NOW + 3


@pytest.mark.parametrize(
    "change",
    [{"issuer": "https://other"}, {"jwks_uri": None}, {"jwks_uri": "http://plain/keys"}, {"jwks_uri": ["x"]}],
)
async def test_discovery_that_does_not_fit(change):
    provider = Provider()
    provider.discovery |= change
    made = await issuers(provider)
    with pytest.raises(TokenError, match="oidc: authenticator not initialized"):
        await made.authenticate_token(signed(RSA, "RS256", CLAIMS), ())


@pytest.mark.parametrize("body", [b"x", b"5", b'{"keys": 5}', b'{"keys": [{"kty": "RSA"}]}', b'{"keys": [{"kty": "RSA", "n": "AQ", "e": "AQAB"}]}'])  # fmt: skip
def test_key_sets_that_are_none(body):
    with pytest.raises(ValueError, match=r"\w"):
        parse_key_set(body)


def test_issuers_are_asked_until_they_answer_and_exchanged_when_all_do():
    clock = VirtualClock(NOW)
    old, new = Provider(), Provider("https://new.example")

    async def fetch(url, authority):
        return await (new if url.startswith("https://new") else old).fetch(url, authority)

    async def play():
        old.down = new.down = True
        made = Issuers((entry(),), clock, fetch, "id")
        exchanged = []
        made.exchanged = lambda: exchanged.append(clock.now())
        from pybernetes.apiserver.reloadmetrics import ReloadMetrics

        made.reloads = ReloadMetrics("authentication", "id", b"x")
        running = asyncio.get_running_loop().create_task(made.run())
        await clock.sleep(25)
        assert len(old.asked) == 3
        old.down = False
        await clock.sleep(10)
        token = signed(RSA, "RS256", CLAIMS)
        assert (await made.authenticate_token(token, ())).user.name == "jane"
        made.replace((entry("https://new.example"),), b"y")
        await clock.sleep(75)
        assert (await made.authenticate_token(token, ())).user.name == "jane", "the old ones until the new ones answer"
        assert 'config_controller_automatic_reloads_total{status="failure"' in "\n".join(made.lines())
        assert not exchanged
        new.down = False
        await clock.sleep(10)
        assert len(exchanged) == 1
        assert await made.authenticate_token(token, ()) is None
        other = signed(RSA, "RS256", CLAIMS | {"iss": "https://new.example"})
        assert (await made.authenticate_token(other, ())).user.name == "jane"
        assert 'automatic_reloads_total{status="success"' in "\n".join(made.lines())
        running.cancel()
        await asyncio.wait([running])

    loop = virtual_event_loop(clock)
    loop.run_until_complete(play())
    loop.close()


# -- the whole ---------------------------------------------------------------------------------------------------------


def stack_of(tmp_path, data, **options):
    file = tmp_path / "authentication.yaml"
    file.write_bytes(data)
    reader = FakeReader(account())
    return authn.build(authn.AuthenticationOptions(config_file=str(file), **options), reader, FixedClock(), None, "me")


async def test_nobodies_on_some_paths_only(tmp_path):
    stack = stack_of(tmp_path, document(anonymous={"enabled": True, "conditions": [{"path": "/livez"}]}))
    assert await stack.authenticator.authenticate(Credentials({}, path="/livez")) is ANONYMOUS
    for path in ("/livez/", "/readyz", "/livez/ping", ""):
        with pytest.raises(StatusError):
            await stack.authenticator.authenticate(Credentials({}, path=path))
    stack = stack_of(tmp_path, document(anonymous={"enabled": False}))
    with pytest.raises(StatusError):
        await stack.authenticator.authenticate(Credentials({}, path="/livez"))


async def test_anonymous_stays_as_it_was_at_the_start(tmp_path):
    stack = stack_of(tmp_path, document(anonymous={"enabled": True}))
    with pytest.raises(ValueError, match="anonymous: Forbidden: changed from initial configuration file"):
        stack.reload(document(anonymous={"enabled": False}))
    with pytest.raises(ValueError, match="Required value"):
        stack.reload(document(anonymous={"enabled": True}, jwt=[{}]))
    stack.reload(document(anonymous={"enabled": True}, jwt=[entry()]))
    assert 'automatic_reloads_total{status="failure",' in "\n".join(stack.issuers.lines())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--anonymous-auth"], "anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured"),
        (["--oidc-issuer-url=https://x", "--oidc-client-id=x"], "authentication-config file and oidc-* flags are mutually exclusive"),
    ],
)  # fmt: skip
def test_flags_that_the_file_excludes(tmp_path, flags, words):
    file = tmp_path / "a.yaml"
    file.write_bytes(document(anonymous={"enabled": True}))
    start = ["--data-dir", str(tmp_path), "--authorization-mode=RBAC", f"--authentication-config={file}"]
    result = CliRunner().invoke(apiserver, [*start, *flags])
    assert (result.exit_code, words in result.output, result.output.count("\n")) == (1, True, 1), result.output


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--oidc-issuer-url=https://x"], "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"),
        (["--oidc-username-claim=x"], "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"),
        (["--oidc-issuer-url=http://x", "--oidc-client-id=x"], 'jwt[0].issuer.url: Invalid value: "http://x": URL scheme must be https'),
        (["--oidc-issuer-url=https://x", "--oidc-client-id=x", "--oidc-signing-algs=HS256"], 'oidc: unsupported signing alg: "HS256"'),
        (["--oidc-issuer-url=https://x", "--oidc-client-id=x", "--oidc-required-claim=x"], "malformed pair, expect string=string: x"),
        (["--oidc-issuer-url=https://x", "--oidc-client-id=x", "--oidc-ca-file=/nonexistent"], "No such file or directory: '/nonexistent'"),
    ],
)  # fmt: skip
def test_flags_of_one_issuer_that_cannot_be(tmp_path, flags, words):
    result = CliRunner().invoke(apiserver, ["--data-dir", str(tmp_path), "--authorization-mode=RBAC", *flags])
    assert (result.exit_code, words in result.output) == (1, True), result.output


def test_flags_of_one_issuer():
    from pybernetes.apiserver.command import options_of

    args = [
        "--oidc-issuer-url=https://x",
        "--oidc-client-id=me",
        "--oidc-groups-claim=g",
        "--oidc-required-claim=a=b,c=d",
    ]
    context = apiserver.make_context("apiserver", ["--service-account-key-file", "/dev/null", *args])
    flags = context.params | {"service_account_key_file": (), "etcd_servers": ("x",)}
    options = options_of(flags)
    [made] = options.authentication.jwt
    assert made["claimMappings"]["username"] == {"claim": "sub", "prefix": "https://x#"}
    assert made["claimValidationRules"] == [{"claim": "a", "requiredValue": "b"}, {"claim": "c", "requiredValue": "d"}]
    assert options.authentication.jwt_algorithms == ("RS256",)
    assert options.authentication.anonymous is False, "everybody may do everything: nobodies are not let in unasked"
    assert options_of(flags | {"given": {"anonymous_auth"}}).authentication.anonymous is True
    assert options_of(flags | {"authorization_mode": ("RBAC",)}).authentication.anonymous is True


async def test_a_server_that_believes_an_issuer_behind_tls(tmp_path):
    """Discovery, keys and a user, by HTTPS with the bundle of the file; and another issuer after a reload."""
    now = RealClock().now()
    ca = signing.new_authority("issuers", now=now, lifetime=3600)
    certificate, key = signing.issue(
        ca, Subject("i", (), ("localhost",)), signing.SERVER_USAGES, now=now, lifetime=3600
    )
    (tmp_path / "issuer.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "issuer.pem")

    async def serve(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        url = "/".join([f"https://localhost:{port}", *head.split()[1].strip("/").split("/")[:1]])
        if "openid-configuration" in head:
            body = orjson.dumps({"issuer": url, "jwks_uri": f"{url}/keys"})
        else:
            body = orjson.dumps({"keys": [jwk(CURVE, "c")]})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]

    def issuer(name):
        trust = {"certificateAuthority": ca.pem.decode()}
        return entry(
            f"https://localhost:{port}/{name}", trust, mappings={"groups": {"claim": "groups", "prefix": "oidc:"}}
        )

    file = tmp_path / "authentication.yaml"
    file.write_bytes(document(jwt=[issuer("a")]))
    options = authn.AuthenticationOptions(
        config_file=str(file), service_account_keys=[jwt.Signer(signing.new_key()).verification_key]
    )
    me = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

    def claims(name):
        return {
            "iss": f"https://localhost:{port}/{name}",
            "aud": ["me"],
            "sub": "jane",
            "groups": "dev",
            "exp": now + 600,
        }

    async with listening, attacked_server(tmp_path, authentication=options) as attacked:
        authenticator = attacked.server.config.authenticators[0]
        for _ in range(200):
            try:
                user = await authenticator.authenticate(bearer(signed(CURVE, "ES256", claims("a"), "c")))
                break
            except StatusError:
                await asyncio.sleep(0.02)
        assert (user.name, user.groups) == ("jane", ("oidc:dev", "system:authenticated"))
        status, answer = await attacked.ask(
            "", "POST", me, {}, Authorization=f"Bearer {signed(CURVE, 'ES256', claims('a'), 'c')}"
        )
        assert (status, answer["status"]["userInfo"]["username"]) == (201, "jane")
        bad = signed(OTHER, "ES256", claims("a"), "c")
        assert (await attacked.ask("", "POST", me, {}, Authorization=f"Bearer {bad}"))[0] == 401
        assert attacked.record()["responseStatus"]["code"] == 401
