"""Configuration files that are damaged at random: refused by ValueError, whatever is wrong, or taken; nothing else ever comes of them."""

import copy
import random

import orjson
import pytest

from pybernetes.apiserver.admission.configuration import settings_of
from pybernetes.apiserver.audit import policy
from pybernetes.apiserver.authn import configuration as authentication
from pybernetes.apiserver.authz import configuration as authorization
from pybernetes.apiserver.yamls import load
from pybernetes.storage.encryption import parse_text

HEAD = "apiserver.config.k8s.io/v1"
AUTHORIZATION = {
    "apiVersion": HEAD,
    "kind": "AuthorizationConfiguration",
    "authorizers": [
        {"type": "Node", "name": "node"},
        {
            "type": "Webhook",
            "name": "w",
            "webhook": {
                "timeout": "3s",
                "authorizedTTL": "5m",
                "cacheAuthorizedRequests": True,
                "subjectAccessReviewVersion": "v1",
                "matchConditionSubjectAccessReviewVersion": "v1",
                "failurePolicy": "Deny",
                "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/dev/null"},
                "matchConditions": [{"expression": "request.user == 'a'"}],
            },
        },
    ],
}
AUTHENTICATION = {
    "apiVersion": HEAD,
    "kind": "AuthenticationConfiguration",
    "anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]},
    "jwt": [
        {
            "issuer": {
                "url": "https://a",
                "audiences": ["b"],
                "audienceMatchPolicy": "MatchAny",
                "certificateAuthority": "",
            },
            "claimMappings": {
                "username": {"claim": "sub", "prefix": ""},
                "groups": {"expression": "claims.groups"},
                "extra": [{"key": "a.com/b", "valueExpression": "claims.c"}],
            },
            "claimValidationRules": [{"expression": "claims.a == 1"}, {"claim": "x", "requiredValue": "y"}],
            "userValidationRules": [{"expression": "user.username != ''", "message": "m"}],
        }
    ],
}
ADMISSION = {
    "apiVersion": HEAD,
    "kind": "AdmissionConfiguration",
    "plugins": [
        {
            "name": "PodSecurity",
            "configuration": {
                "apiVersion": "pod-security.admission.config.k8s.io/v1",
                "kind": "PodSecurityConfiguration",
                "defaults": {"enforce": "baseline", "enforce-version": "v1.30"},
                "exemptions": {"usernames": ["a"], "namespaces": ["b"]},
            },
        },
        {
            "name": "EventRateLimit",
            "configuration": {
                "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1",
                "kind": "Configuration",
                "limits": [{"type": "Server", "qps": 1, "burst": 2, "cacheSize": 3}],
            },
        },
        {"name": "PodNodeSelector", "configuration": {"podNodeSelectorPluginConfig": {"ns": "a=b"}}},
        {
            "name": "ResourceQuota",
            "configuration": {
                "apiVersion": HEAD,
                "kind": "ResourceQuotaConfiguration",
                "limitedResources": [
                    {"resource": "pods", "matchContains": ["pods"], "matchScopes": [{"scopeName": "x"}]}
                ],
            },
        },
    ],
}
AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "Metadata",
            "users": ["a"],
            "resources": [{"group": "", "resources": ["pods"], "resourceNames": ["x"]}],
        },
        {"level": "None", "nonResourceURLs": ["/healthz*"], "omitManagedFields": True},
    ],
}
ENCRYPTION = {
    "apiVersion": HEAD,
    "kind": "EncryptionConfiguration",
    "resources": [
        {
            "resources": ["secrets"],
            "providers": [
                {"aesgcm": {"keys": [{"name": "k", "secret": "MDEyMzQ1Njc4OWFiY2RlZg=="}]}},
                {"identity": {}},
            ],
        }
    ],
}
STRANGE = (None, True, 0, -1, 5.5, "", "x", [], {}, [None], [[]], {"a": None}, ["x", 5], "5s", "\ud83d\ude00", 1 << 70)


def damaged(document, rng):
    """One or a few places exchanged for something else, taken away, or doubled."""
    found = copy.deepcopy(document)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(found))
        if not places:
            break
        holder, key = rng.choice(places)
        what = rng.random()
        if what < 0.6:
            holder[key] = copy.deepcopy(rng.choice(STRANGE))
        elif what < 0.8:
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[f"{key}x"] = holder[key]
    return found


def _places(value):
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(item)


def admission(data, tmp_path):
    (tmp_path / "admission.yaml").write_bytes(data)
    settings_of(str(tmp_path / "admission.yaml"), ["PodSecurity", "EventRateLimit", "PodNodeSelector", "ResourceQuota"])


READERS = {
    "authorization": (AUTHORIZATION, lambda data, tmp_path: authorization.parse(data)),
    "authentication": (AUTHENTICATION, lambda data, tmp_path: authentication.parse(data, "f")),
    "admission": (ADMISSION, admission),
    "audit": (AUDIT, lambda data, tmp_path: policy.parse(load(data)[0])),
    "encryption": (ENCRYPTION, lambda data, tmp_path: parse_text(data, "f")),
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_damaged_is_refused_or_taken(tmp_path, name):
    document, read = READERS[name]
    if name != "authorization":  # whose kubeconfig is no regular file
        read(orjson.dumps(document), tmp_path)
    rng, refused = random.Random(name), 0
    for _ in range(1500):
        broken = damaged(document, rng)
        try:
            data = orjson.dumps(broken)
        except TypeError:
            continue  # more than JSON can hold
        try:
            read(data, tmp_path)
        except ValueError:
            refused += 1
        except Exception as failure:
            raise AssertionError(f"{type(failure).__name__}: {failure} of {data.decode()}") from failure
    assert refused > 500
    for text in (b"", b"null", b"5", b"[]", b"x", b"\xff", b"a: b: c", b"a: &a [*a]", b"? {}", b"- - -", b"{" * 300):
        with pytest.raises(ValueError):
            read(text, tmp_path)
