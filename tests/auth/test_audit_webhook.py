"""``--audit-webhook-*``: events in batches to a service, sent again where it fails, beside or in place of the log."""

import asyncio
import random

import orjson
import pytest
from attack_support import NOW, attacked_server, request
from auth_support import FixedClock
from click.testing import CliRunner

from pybernetes.api.errors import StatusError
from pybernetes.apiserver.audit.log import TokenBucket
from pybernetes.apiserver.audit.options import AuditOptions, WebhookOptions, auditor_of
from pybernetes.apiserver.audit.webhook import WebhookLog
from pybernetes.apiserver.command import apiserver
from pybernetes.apiserver.outcalls import Outcall
from pybernetes.client.transport import TransportError
from pybernetes.concurrency import VirtualClock, virtual_event_loop

POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Request}]\n"
MAPS = "/api/v1/namespaces/default/configmaps"


class Service:
    """Notes when which batches come; ``answers`` are failures or None, the last one for good."""

    def __init__(self, clock, *answers):
        self.clock, self.answers, self.batches, self.transport, self.closed = (
            clock,
            list(answers) or [None],
            [],
            self,
            False,
        )

    async def request(self, method, path, body, *, timeout):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        document = orjson.loads(body)
        assert (document["kind"], document["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
        self.batches.append((round(self.clock.now() - NOW, 3), [i["n"] for i in document["items"]]))
        if answer is not None:
            raise answer

    def close(self):
        self.closed = True


def play(moments, *answers, wait=200, **options):
    """(batches, the log) for events that come at these moments."""
    clock = VirtualClock(NOW)

    async def main():
        service = Service(clock, *answers)
        call = Outcall(service, "/", clock, random.Random(1), first_delay=10.0, passing=lambda failure: True)
        made = WebhookLog(call, clock, **{k: v(clock) if callable(v) else v for k, v in options.items()})
        running = asyncio.get_running_loop().create_task(made.run())
        for number, moment in enumerate(moments):
            await clock.sleep(NOW + moment - clock.now())
            made.add(b'{"n":%d}\n' % number)
        await clock.sleep(wait)
        running.cancel()
        await asyncio.wait([running])
        assert service.closed
        return service.batches, made

    loop = virtual_event_loop(clock)
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def test_batches_go_out_when_they_are_full_or_old():
    batches, _ = play([0, 1, 2, 3], interval=30.0, max_size=3)
    assert batches == [(2, [0, 1, 2]), (33, [3])]


def test_what_fails_is_sent_again_and_others_do_not_wait_for_it():
    failures = (TransportError("dial", sent=False), StatusError(403, "Forbidden", "no"), None)
    batches, made = play([0, 5], *failures, interval=1.0, max_size=1)
    assert [numbers for _, numbers in batches] == [[0], [1], [0], [1]]
    first, second, third, fourth = (moment for moment, _ in batches)
    assert (first, second) == (0, 5) and 10 <= third <= 12 and 15 <= fourth <= 17
    assert made.lost() == {"webhook": 0, "truncate": 0}


def test_what_fails_for_ever_is_counted():
    batches, made = play([0, 0], StatusError(500, "InternalError", "x"), interval=1.0, max_size=2)
    assert len(batches) == 5 and made.lost()["webhook"] == 2
    assert 10 + 15 + 22 < batches[-1][0] < 120


def test_no_more_batches_a_second_than_allowed():
    batches, _ = play([0] * 6, interval=1.0, max_size=1, throttle=lambda clock: TokenBucket(0.5, 2, clock))
    assert [moment for moment, _ in batches] == [0, 0, 2, 4, 6, 8]


def test_what_finds_no_place_is_counted():
    batches, made = play([0] * 5, interval=1.0, max_size=10, max_pending=3)
    assert batches == [(1, [0, 1, 2])] and made.lost()["webhook"] == 2


def test_an_orderly_stop_sends_what_waits():
    batches, made = play([0, 0, 0], interval=1000.0, max_size=2, wait=1)
    assert [numbers for _, numbers in batches] == [[0, 1], [2]] and made.dropped == 0


def test_a_service_that_hangs_does_not_hold_a_stop():
    clock = VirtualClock(NOW)

    class Hanging(Service):
        async def request(self, method, path, body, *, timeout):
            await clock.sleep(10_000)

    async def main():
        call = Outcall(Hanging(clock), "/", clock, random.Random(1))
        made = WebhookLog(call, clock, interval=1.0, max_size=2)
        running = asyncio.get_running_loop().create_task(made.run())
        for number in range(5):
            made.add(b'{"n":%d}\n' % number)
        await clock.sleep(3)
        running.cancel()
        began = clock.monotonic()
        await asyncio.wait([running])
        assert clock.monotonic() - began <= 6

    loop = virtual_event_loop(clock)
    loop.run_until_complete(main())
    loop.close()


def test_large_events_are_cut_and_large_batches_divided():
    clock = FixedClock()
    made = WebhookLog(Outcall(None, "/", clock, random.Random(1)), clock, max_event=100, max_batch=150)
    small, big = b'{"n":1,"pad":"%b"}' % (b"x" * 60), b'{"n":2,"requestObject":"%b"}' % (b"x" * 200)
    huge = b'{"n":3,"verb":"%b"}' % (b"x" * 200)
    batches = list(made._batches([small, small, big, huge, small]))
    assert all(sum(map(len, b)) <= 150 for b in batches) and len(batches) == 3
    cut = [orjson.loads(line) for b in batches for line in b]
    assert [e["n"] for e in cut] == [1, 1, 2, 1]
    assert cut[2] == {"n": 2, "annotations": {"audit.k8s.io/truncated": "true"}}
    assert made.lost()["truncate"] == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--audit-webhook-mode=x", 'invalid audit webhook mode x, allowed modes are "batch,blocking,blocking-strict"'),
        ("--audit-webhook-mode=blocking", "--audit-webhook-mode blocking is not available here, use batch"),
        ("--audit-webhook-batch-buffer-size=0", "invalid audit batch webhook buffer size 0, must be a positive number"),
        (
            "--audit-webhook-batch-throttle-qps=0",
            "invalid audit batch webhook throttle QPS 0, must be a positive number",
        ),
        ("--audit-webhook-version=v2", 'invalid group version, allowed versions are ["audit.k8s.io/v1"]'),
        ("", "initializing audit webhook: cannot read kubeconfig /nonexistent: No such file or directory"),
    ],
)
def test_what_the_flags_cannot_say(tmp_path, flags, words):
    (tmp_path / "policy.yaml").write_text(POLICY)
    start = ["--data-dir", str(tmp_path), "--authorization-mode=RBAC", "--audit-webhook-config-file=/nonexistent"]
    start.append(f"--audit-policy-file={tmp_path}/policy.yaml")
    result = CliRunner().invoke(apiserver, [*start, *flags.split()])
    assert (result.exit_code, result.output) == (1, f"Error: {words}\n")


class Receiver:
    def __init__(self):
        self.events, self.came = [], asyncio.Event()

    async def serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(int(h[16:]) for h in head.split("\r\n") if h.lower().startswith("content-length: "))
                self.events += orjson.loads(await reader.readexactly(length))["items"]
                self.came.set()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.mark.parametrize("beside", [False, True])
async def test_a_server_sends_what_it_records(tmp_path, beside):
    receiver = Receiver()
    listening = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    server = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        "current-context": "x",
    }
    (tmp_path / "audit.conf").write_bytes(orjson.dumps(config))
    (tmp_path / "policy2.yaml").write_text(POLICY)
    webhook = WebhookOptions(config_file=str(tmp_path / "audit.conf"), batch_max_wait=0.01, throttle=False)
    log = str(tmp_path / "audit.log") if beside else ""
    audit = AuditOptions(policy_file=str(tmp_path / "policy2.yaml"), log_path=log, webhook=webhook)
    async with listening:
        async with attacked_server(tmp_path, audit=audit) as attacked:
            # Three reads on one connection: the later ones go the short way.
            await attacked.raw(*[request("root", "GET", MAPS)] * 3)
            await attacked.ask("root", "POST", MAPS, {"metadata": {"name": "a"}})
            await asyncio.wait_for(receiver.came.wait(), 20)
            lines = attacked.lines()
        # What had not gone by then went when the server stopped.
        mine = [e for e in receiver.events if e["requestURI"] == MAPS]
        assert [e["verb"] for e in mine] == ["list"] * 3 + ["create"]
        assert mine[3]["requestObject"]["metadata"] == {"name": "a"}
        written = [orjson.loads(line) for line in lines]
        assert ([e for e in written if e["requestURI"] == MAPS] == mine) is beside
        listening.close()


def test_without_a_policy_nothing_is_sent():
    assert auditor_of(AuditOptions(webhook=WebhookOptions(config_file="/nonexistent")), FixedClock()) is None
