"""Watchers with selectors: each sees what a look at every object would show, and an event costs what it concerns."""

import random

import orjson
import pytest

from pybernetes.apiserver.request import Request
from pybernetes.apiserver.watching import Scope
from pybernetes.hooks.identity import LOOPBACK, Credentials

PATH = "/api/v1/configmaps"
NAMESPACED = "/api/v1/namespaces/default/configmaps"


class Frames:
    def __init__(self):
        self.seen = []

    def write(self, payload):
        for line in payload.raw.splitlines():
            event = orjson.loads(line)
            self.seen.append((event["type"], event["object"]["metadata"]["name"]))
        return True

    def end(self):
        pass


async def watch(server, selector, path=PATH):
    headers = {"accept": "application/json"}
    query = f"watch=1&resourceVersion={server.hub.revision}&labelSelector={selector}"
    response = await server.handle(Request("GET", path, query, headers, b"", Credentials(headers), user=LOOPBACK))
    frames = Frames()
    response.stream.start(frames)
    return response.stream, frames


def wanted(selector, labels):
    """The selectors of the test, evaluated by hand."""
    return {
        "": True,
        "app=a": labels.get("app") == "a",
        "app in (b)": labels.get("app") == "b",
        "app in (a,b)": labels.get("app") in ("a", "b"),
        "app in (a,b),tier in (x,y)": labels.get("app") in ("a", "b") and "tier" in labels,
        "app!=a": labels.get("app") != "a",
        "!app": "app" not in labels,
        "app=a,tier=x": labels.get("app") == "a" and labels.get("tier") == "x",
        "tier=x,app=b": labels.get("app") == "b" and labels.get("tier") == "x",
    }[selector]


SELECTORS = [
    "",
    "app=a",
    "app in (b)",
    "app in (a,b)",
    "app in (a,b),tier in (x,y)",
    "app!=a",
    "!app",
    "app=a,tier=x",
    "tier=x,app=b",
]


@pytest.mark.parametrize("seed", range(3))
async def test_every_watcher_sees_what_its_selector_means(server, seed):
    rng, stored = random.Random(seed), {}
    watchers = [(s, await watch(server, s, p)) for s in SELECTORS for p in (PATH, NAMESPACED)]
    expected = {s: [] for s in SELECTORS}
    for _ in range(150):
        name = f"c{rng.randrange(6)}"
        before = stored.get(name)
        labels = {k: rng.choice(v) for k, v in (("app", "abc"), ("tier", "xy")) if rng.random() < 0.7}
        body = {"metadata": {"name": name, "labels": labels}, "data": {"n": str(rng.random())}}
        if before is None:
            await server.loopback("POST", NAMESPACED, body)
            stored[name] = labels
        elif rng.random() < 0.2:
            await server.loopback("DELETE", f"{NAMESPACED}/{name}")
            del stored[name]
        else:
            await server.loopback("PUT", f"{NAMESPACED}/{name}", body)
            stored[name] = labels
        for selector, seen in expected.items():
            was = before is not None and wanted(selector, before)
            now = name in stored and wanted(selector, stored[name])
            kind = ("MODIFIED" if was else "ADDED") if now else ("DELETED" if was else "")
            if kind:
                seen.append((kind, name))
    server.hub.dispatchers["/registry/configmaps/"].flush()
    for selector, (stream, frames) in watchers:
        assert frames.seen == expected[selector], selector
        stream.stop()


async def test_an_event_is_offered_to_those_whose_label_it_has(server, monkeypatch):
    looked = []
    seen = Scope.seen
    monkeypatch.setattr(Scope, "seen", lambda scope, change: looked.append(scope) or seen(scope, change))
    streams = [(await watch(server, f"app=a{n}"))[0] for n in range(200)]
    looked.clear()
    await server.loopback("POST", NAMESPACED, {"metadata": {"name": "c", "labels": {"app": "a7"}}})
    assert len(looked) == 1
    await server.loopback(
        "PATCH", f"{NAMESPACED}/c", {"metadata": {"labels": {"app": "a8"}}}, content_type="application/merge-patch+json"
    )
    assert len(looked) == 3, "those whose it was, and those whose it is"
    for stream in streams:
        stream.stop()
    dispatcher = server.hub.dispatchers["/registry/configmaps/"]
    assert not dispatcher._buckets and not dispatcher._triggers


async def test_changes_that_nobody_wants_are_not_held(server):
    stream, _ = await watch(server, "app=a")
    for number in range(20):
        await server.loopback("POST", NAMESPACED, {"metadata": {"name": f"c{number}"}})
    assert not server.hub.dispatchers["/registry/configmaps/"]._touched
    stream.stop()
