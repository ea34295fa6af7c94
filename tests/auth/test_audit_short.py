"""The short way of plain reads leaves the same audit records as the long way, and an orderly stop loses none."""

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from attack_support import GET_PODS, POD, attacked_server, request

from pybernetes.apiserver.audit.log import BatchingLog, RotatingFile
from pybernetes.apiserver.composition import AuditOptions, Options, compose
from pybernetes.apiserver.http import HttpServer
from pybernetes.concurrency import RealClock
from pybernetes.storage.memory import MemoryStore

PODS = "/api/v1/namespaces/default/pods"
TARGETS = [f"{PODS}/p", f"{PODS}/p?resourceVersion=0", PODS, f"{PODS}?resourceVersion=0", "/api/v1/namespaces/default"]
OMIT = "omitStages: [RequestReceived]"
POLICIES = {
    "metadata": f"{{rules: [{{level: Metadata}}], {OMIT}}}",
    "both stages": "{rules: [{level: Metadata}]}",
    "request": f"{{rules: [{{level: Request}}], {OMIT}}}",
    "with the answers": f"{{rules: [{{level: RequestResponse}}], {OMIT}}}",
    "only received": "{rules: [{level: RequestResponse, omitStages: [ResponseStarted, ResponseComplete]}]}",
    "some": f"""{{rules: [{{level: None, resources: [{{group: "", resources: [pods], resourceNames: [p]}}]}},
      {{level: Metadata, users: [root]}}], {OMIT}}}""",
}


def document(policy):
    return f"{{kind: Policy, apiVersion: audit.k8s.io/v1, {policy[1:]}"


def comparable(lines):
    """Records without what differs between any two requests."""
    records = [orjson.loads(line) for line in lines]
    for record in records:
        assert record.pop("auditID") and record["stageTimestamp"] >= record["requestReceivedTimestamp"]
        del record["stageTimestamp"], record["requestReceivedTimestamp"]
    return records


class Counting:
    """Counts what goes the short way."""

    def __init__(self, express):
        self.express, self.answered = express, 0
        self.admit = express.admit

    def answer(self, target, admitted):
        found = self.express.answer(target, admitted)
        self.answered += found is not None
        return found


def plain(user, target):
    return request(user, "GET", target).replace(b"Content-Length: 0\r\n", b"")


@pytest.mark.parametrize("policy", POLICIES)
async def test_both_ways_record_the_same(tmp_path, policy):
    async with attacked_server(tmp_path, document(POLICIES[policy])) as attacked:
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        await attacked.setup("POST", accounts, {"metadata": {"name": "default"}})
        await attacked.setup("POST", PODS, POD)
        await attacked.grant("alice", GET_PODS)
        counting = Counting(attacked.front.express)
        for user, targets in (("root", TARGETS), ("alice", TARGETS[:4])):
            records = []
            for express in (None, counting):
                attacked.front.express = express
                before = len(attacked.lines())
                answers = await attacked.raw(*(plain(user, t) for t in targets for _ in range(3)))
                assert {status for status, _ in answers} == {200}
                records.append(comparable(attacked.lines()[before:]))
            assert records[0] == records[1]
        shown = policy == "with the answers"
        assert counting.answered == 0 if shown else counting.answered >= 15


async def test_a_pass_is_not_given_where_the_credentials_need_a_word(tmp_path):
    async with attacked_server(tmp_path) as attacked:
        asked = attacked.front.server.express.admit
        made = attacked.request_of("root")
        assert asked(made) is not None
        made.warnings.append("use another token")
        assert asked(made) is None
        made.warnings.clear()
        made.audit["annotations"] = {"authentication.k8s.io/stale-token": "x"}
        assert asked(made) is None


async def test_an_orderly_stop_loses_no_record(tmp_path):
    """As many records as answers, also of requests that are answered while everything stops."""
    (tmp_path / "policy.yaml").write_text(document(POLICIES["metadata"]))
    options = Options(
        audit=AuditOptions(
            policy_file=str(tmp_path / "policy.yaml"), log_path=str(tmp_path / "audit.log"), mode="batch"
        )
    )
    clock = RealClock()
    server = compose(MemoryStore(clock), clock, random.Random(1), options)
    await server.start()
    started, path = asyncio.Event(), str(tmp_path / "s")
    running = asyncio.ensure_future(server.run())
    front = asyncio.ensure_future(HttpServer(server, clock).run("", unix_path=path, started=started))
    await started.wait()
    reader, writer = await asyncio.open_unix_connection(path)
    answered = 0
    for number in range(300):
        writer.write(request("", "GET", f"/version?n={number}"))
        if number == 200:
            running.cancel()
            await asyncio.wait([running])
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        await reader.readexactly(next(int(h[16:]) for h in head.split("\r\n") if h.startswith("Content-Length: ")))
        answered += 1
    writer.close()
    front.cancel()
    await asyncio.wait([front])
    uris = [orjson.loads(line)["requestURI"] for line in (tmp_path / "audit.log").read_bytes().splitlines()]
    assert [u for u in uris if u.startswith("/version")] == [f"/version?n={n}" for n in range(answered)]


async def test_a_batch_under_way_is_finished_before_the_last_one(tmp_path):
    """Cancelling comes while a thread is writing."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    class Slow(RotatingFile):
        def write(self, lines):
            loop.call_soon_threadsafe(begun.set)
            super().write(lines)

    log = BatchingLog(Slow(str(tmp_path / "a.log"), RealClock()), RealClock(), interval=0.0)
    task = asyncio.ensure_future(log.run())
    lines = [b"%d\n" % n for n in range(1000)]
    for line in lines[:500]:
        log.add(line)
    await begun.wait()
    for line in lines[500:]:
        log.add(line)
    task.cancel()
    await asyncio.wait([task])
    log.add(b"late\n")
    assert (tmp_path / "a.log").read_bytes() == b"".join(lines) + b"late\n"


async def test_a_batch_whose_thread_never_began_is_written_at_the_end(tmp_path):
    """All threads are busy when the batch is due, and still when everything stops."""
    loop, release = asyncio.get_running_loop(), threading.Event()
    pool = ThreadPoolExecutor(1)
    loop.set_default_executor(pool)
    busy = loop.run_in_executor(None, release.wait)
    log = BatchingLog(RotatingFile(str(tmp_path / "a.log"), RealClock()), RealClock(), interval=0.0)
    task = asyncio.ensure_future(log.run())
    log.add(b"first\n")
    for _ in range(10):
        await asyncio.sleep(0)
    assert not log._pending
    task.cancel()
    await asyncio.wait([task])
    release.set()
    await busy
    assert (tmp_path / "a.log").read_bytes() == b"first\n"


async def test_what_cannot_be_written_is_counted(tmp_path):
    (tmp_path / "dir").mkdir()
    log = BatchingLog(RotatingFile(str(tmp_path / "dir"), RealClock()), RealClock())
    log.add(b"1\n")
    log.flush()
    assert log.dropped == 1
