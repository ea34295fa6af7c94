"""``--admission-control-config-file``: settings of plugins, what is refused in upstream's words, and what comes of it."""

import orjson
import pytest
from auth_support import NOW, FixedClock, obj, user
from click.testing import CliRunner
from test_admission import World, pod
from test_webhooks import HookServer, hook
from test_webhooks import World as Hooks

from pybernetes.api.resources import GVR, NAMESPACES, PODS
from pybernetes.apiserver.admission.configuration import settings_of
from pybernetes.apiserver.admission.eventlimits import EventRateLimit
from pybernetes.apiserver.admission.webhooks.users import WebhookUser, WebhookUsers
from pybernetes.apiserver.command import apiserver
from pybernetes.client import signing
from pybernetes.concurrency import RealClock
from pybernetes.hooks.admission import CREATE, AdmissionAttributes, AdmissionContext

HEAD = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}
POD_SECURITY = {"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration"}
QUOTA = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "ResourceQuotaConfiguration"}
WEBHOOK = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration"}
LIMITS = {"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration"}
EVENTS = GVR("", "v1", "events")
INIT = "failed to apply admission: couldn't init admission plugin "
ALL = ("PodSecurity", "ResourceQuota", "EventRateLimit", "PodNodeSelector", "ValidatingAdmissionWebhook")


def write(tmp_path, *plugins, **more):
    file = tmp_path / "admission.yaml"
    file.write_bytes(orjson.dumps(HEAD | {"plugins": list(plugins)} | more))
    return str(file)


def plugin(name, configuration, **fields):
    return {"name": name, "configuration": configuration | fields}


# What kube-apiserver v1.36 says of the same files.
@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            plugin("PodSecurity", POD_SECURITY, defaults={"enforce": "foo", "enforce-version": "bar", "warn": "restricted"}),
            f'{INIT}"PodSecurity": PodSecurity configuration error: [enforce: must be one of privileged, baseline, restricted, '
            'enforce-version: must be "latest" or "v1.x"]',
        ),
        (
            plugin("PodSecurity", POD_SECURITY | {"apiVersion": "pod-security.admission.config.k8s.io/v2"}),
            f'{INIT}"PodSecurity": no kind "PodSecurityConfiguration" is registered for version "pod-security.admission.config.k8s.io/v2"',
        ),
        (plugin("PodSecurity", POD_SECURITY, foo=1), f'{INIT}"PodSecurity": strict decoding error: unknown field "foo"'),
        (
            plugin("ResourceQuota", QUOTA, limitedResources=[{"apiGroup": ""}]),
            f'{INIT}"ResourceQuota": limitedResources[0].resource: Required value',
        ),
        (
            plugin("ValidatingAdmissionWebhook", WEBHOOK, kubeConfigFile="foo"),
            f'{INIT}"ValidatingAdmissionWebhook": kubeConfigFile: Invalid value: "foo": must be an absolute file path',
        ),
        (
            plugin("ValidatingAdmissionWebhook", WEBHOOK, kubeConfigFile="/nonexistent"),
            f"{INIT}\"ValidatingAdmissionWebhook\": [Errno 2] No such file or directory: '/nonexistent'",
        ),
        (
            plugin("EventRateLimit", LIMITS, limits=[{"type": "Foo", "qps": 0, "burst": 0, "cacheSize": -1}]),
            f'{INIT}"EventRateLimit": [limits[0].type: Unsupported value: "Foo": supported values: "Server", "Namespace", "User", '
            '"SourceAndObject", limits[0].burst: Invalid value: 0: must be positive, limits[0].qps: Invalid value: 0: must be '
            "positive, limits[0].cacheSize: Invalid value: -1: must not be negative]",
        ),
        (plugin("EventRateLimit", LIMITS), f'{INIT}"EventRateLimit": limits: Invalid value: null: must not be empty'),
        (
            {"name": "PodSecurity", "foo": 1},
            'failed to apply admission: failed to read plugin config: strict decoding error: unknown field "plugins[0].foo"',
        ),
        ({"name": "PodSecurity", "path": "/nonexistent"}, f"{INIT}\"PodSecurity\": [Errno 2] No such file or directory: '/nonexistent'"),
        ({"name": "PodSecurity", "configuration": 5}, f'{INIT}"PodSecurity": configuration: must be an object'),
        ({"name": "PodNodeSelector", "configuration": {"podNodeSelectorPluginConfig": [1]}}, "must be a map of strings"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_upstreams_words(tmp_path, entry, words):
    only = [entry["name"]]
    with pytest.raises(ValueError, match="failed to apply admission") as failure:
        settings_of(write(tmp_path, entry), only)
    assert words in str(failure.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="unable to read admission control configuration from"):
        settings_of("/nonexistent", ALL)
    with pytest.raises(ValueError, match='no kind "AdmissionConfiguration" is registered for version "apiserver.config.k8s.io/v2"'):  # fmt: skip
        settings_of(write(tmp_path, apiVersion="apiserver.config.k8s.io/v2"), ALL)
    (tmp_path / "admission.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="failed to read plugin config: yaml: "):
        settings_of(str(tmp_path / "admission.yaml"), ALL)


def test_plugins_that_are_off_are_not_looked_at(tmp_path):
    file = write(
        tmp_path, {"name": "EventRateLimit", "path": "/nonexistent"}, {"name": "Unknown", "path": "/nonexistent"}
    )
    assert settings_of(file, ["PodSecurity"]) == {}
    assert settings_of("", ["PodSecurity", "ResourceQuota"]) == {}
    with pytest.raises(ValueError, match="limits: Invalid value: null: must not be empty"):
        settings_of("", ["EventRateLimit"])


def test_a_configuration_may_lie_in_a_file_beside(tmp_path):
    (tmp_path / "psa.yaml").write_bytes(orjson.dumps(POD_SECURITY | {"defaults": {"enforce": "baseline"}}))
    file = write(tmp_path, {"name": "PodSecurity", "path": "psa.yaml"}, plugin("PodSecurity", POD_SECURITY))
    assert settings_of(file, ["PodSecurity"])["pod-security"]["defaults"] == {"enforce": "baseline"}


@pytest.mark.parametrize(
    "flag", ["--enable-admission-plugins=ImagePolicyWebhook", "--enable-admission-plugins=EventRateLimit"]
)
def test_plugins_that_cannot_be_end_the_start_in_one_line(tmp_path, flag):
    start = ["--data-dir", str(tmp_path), "--authorization-mode=RBAC", flag]
    result = CliRunner().invoke(apiserver, start)
    assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output


# -- what comes of it --------------------------------------------------------------------------------------------------


async def test_pod_security_with_versions_and_exemptions(tmp_path):
    configuration = plugin(
        "PodSecurity",
        POD_SECURITY,
        defaults={"enforce": "restricted", "enforce-version": "v1.24", "warn": "baseline"},
        exemptions={"usernames": ["root"], "namespaces": ["kube-system"], "runtimeClasses": ["kata"]},
    )
    world = World(settings=settings_of(write(tmp_path, configuration), ["PodSecurity"]))
    assert 'violates PodSecurity "restricted:v1.24"' in await world.refused(PODS, pod())
    await world.write(PODS, pod(), who=user("root"))
    world.reader.put(NAMESPACES, obj("own", meta={"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}))
    world.reader.put(GVR("", "v1", "serviceaccounts"), obj("default", "own"))
    await world.write(PODS, pod(namespace="own"))


async def test_limited_resources(tmp_path):
    limited = [{"resource": "pods", "matchContains": ["pods"]}]
    file = write(tmp_path, plugin("ResourceQuota", QUOTA, limitedResources=limited))
    world = World(settings=settings_of(file, ["ResourceQuota"]))
    assert "insufficient quota to consume: count/pods,pods" in await world.refused(PODS, pod())


async def test_selectors_of_nodes(tmp_path):
    selectors = {"clusterDefaultNodeSelector": "env=prod", "narrow": "disk=ssd"}
    file = tmp_path / "legacy.yaml"
    file.write_bytes(orjson.dumps({"podNodeSelectorPluginConfig": selectors}))
    world = World(enable=["PodNodeSelector"], settings=settings_of(str(file), ["PodNodeSelector"]))
    for name, annotations in (("narrow", {}), ("own", {"scheduler.alpha.kubernetes.io/node-selector": "a=b"})):
        world.reader.put(NAMESPACES, obj(name, meta={"annotations": annotations}))
        world.reader.put(GVR("", "v1", "serviceaccounts"), obj("default", name))
    assert (await world.write(PODS, pod()))["spec"]["nodeSelector"] == {"env": "prod"}
    assert (await world.write(PODS, pod(namespace="own")))["spec"]["nodeSelector"] == {"a": "b"}
    words = "pod node label selector labels conflict with its namespace whitelist"
    assert words in await world.refused(PODS, pod(namespace="narrow", nodeSelector={"disk": "hdd"}))


def event(name="e", namespace="ns", source="kubelet", about="p"):
    return obj(name, namespace, source={"component": source}, involvedObject={"kind": "Pod", "name": about})


class Limited:
    def __init__(self, *limits):
        self.clock = FixedClock()
        self.plugin = EventRateLimit(AdmissionContext(None, None, None, self.clock, {"event-limits": limits}))

    async def write(self, new, who="alice", dry_run=False):
        a = AdmissionAttributes(
            CREATE, EVENTS, None, "", new["metadata"]["namespace"], "e", new, None, user(who), {}, dry_run
        )
        try:
            await self.plugin.validate(a)
        except Exception as failure:  # noqa: BLE001 - the test compares it
            return failure.code, failure.message
        return None


async def test_events_are_limited_by_the_second():
    limited = Limited({"type": "Namespace", "qps": 2, "burst": 3})
    assert [await limited.write(event()) for _ in range(3)] == [None] * 3
    assert await limited.write(event()) == (429, "limit reached on type Namespace for key ns")
    assert await limited.write(event(namespace="other")) is None
    assert await limited.write(event(), dry_run=True) is None
    limited.clock.time += 0.5
    assert await limited.write(event()) is None
    assert await limited.write(event()) is not None
    limited.clock.time = NOW + 1000
    assert [await limited.write(event()) for _ in range(4)][-1] is not None, "no more than the burst after a pause"


async def test_all_kinds_of_event_limits():
    limited = Limited({"type": "User", "qps": 1, "burst": 1}, {"type": "Server", "qps": 1, "burst": 2})
    assert await limited.write(event()) is None
    assert await limited.write(event()) == (429, "limit reached on type User for key alice")
    assert (await limited.write(event(), "bob"))[1] == "limit reached on type Server for key "
    limited = Limited({"type": "SourceAndObject", "qps": 1, "burst": 1, "cacheSize": 1})
    assert await limited.write(event()) is None
    assert await limited.write(event(about="other")) is None
    assert await limited.write(event()) is None, "of more keys than have a place the longest unused is forgotten"
    assert limited.plugin.handles(CREATE, GVR("events.k8s.io", "v1", "events"), "")
    assert not limited.plugin.handles(CREATE, PODS, "")


def test_users_of_webhooks_are_found_by_host(tmp_path):
    file = tmp_path / "hooks.conf"
    users = [
        {"name": "hook.ns.svc", "user": {"token": "exact"}},
        {"name": "hook.ns.svc:8443", "user": {"username": "u", "password": "p"}},
        {"name": "*.ns.svc", "user": {"token": "wild"}},
        {"name": "*", "user": {"token": "any"}},
    ]
    file.write_bytes(orjson.dumps({"users": users}))
    found = WebhookUsers.from_file(str(file))
    assert found.for_host("hook.ns.svc", 443).authorization == "Bearer exact"
    assert found.for_host("hook.ns.svc", 8443).authorization == "Basic dTpw"
    assert found.for_host("other.ns.svc", 443).authorization == "Bearer wild"
    assert found.for_host("example.com", 443).authorization == "Bearer any"
    context = {"contexts": [{"name": "c", "context": {"user": "me"}}], "current-context": "c"}
    file.write_bytes(orjson.dumps({"users": [{"name": "me", "user": {"token": "mine"}}], **context}))
    assert WebhookUsers.from_file(str(file)).for_host("x", 443).authorization == "Bearer mine"
    file.write_bytes(b"{}")
    assert WebhookUsers.from_file(str(file)).for_host("x", 443) == WebhookUser()
    file.write_bytes(b"users: 5")
    with pytest.raises(ValueError, match="users are no list"):
        WebhookUsers.from_file(str(file))


async def test_a_webhook_sees_who_calls(tmp_path):
    now = RealClock().now()
    ca = signing.new_authority("clients", now=now, lifetime=3600)
    certificate, key = signing.issue(ca, signing.Subject("api", ()), signing.CLIENT_USAGES, now=now, lifetime=3600)
    (tmp_path / "c.crt").write_bytes(certificate)
    (tmp_path / "c.key").write_bytes(key)
    entry = {"name": "localhost:*", "user": {}}
    kubeconfig = tmp_path / "hooks.conf"
    seen = []

    class Asking(HookServer):
        async def _serve(self, reader, writer):
            presented = writer.get_extra_info("ssl_object").getpeercert()
            seen.append(dict(part[0] for part in presented["subject"])["commonName"] if presented else "")
            await super()._serve(reader, writer)

    server = Asking(tmp_path)
    server.context.verify_mode = 1  # a certificate is welcome
    server.context.load_verify_locations(cadata=ca.pem.decode())
    async with server.running():
        entry["name"] = f"localhost:{server.port}"
        entry["user"] = {"client-certificate": "c.crt", "client-key": "c.key"}
        kubeconfig.write_bytes(orjson.dumps({"users": [entry]}))
        file = write(tmp_path, plugin("ValidatingAdmissionWebhook", WEBHOOK, kubeConfigFile=str(kubeconfig)))
        settings = settings_of(file, ["ValidatingAdmissionWebhook"])
        server.handlers["/"] = lambda request: {"allowed": True}
        await Hooks(validating=[hook("h.example.com", server.config())], settings=settings).write()
        await Hooks(validating=[hook("h.example.com", server.config())]).write()
    assert seen == ["api", ""]
