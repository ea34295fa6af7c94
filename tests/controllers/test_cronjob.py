"""CronJobs and the parser of their schedules; cleaning finished Jobs away."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybernetes.api.cron import CronError, parse
from pybernetes.api.resources import CRON_JOBS, EVENTS, JOBS
from pybernetes.api.times import parse_time, to_time


def after(text, moment, zone="", count=1):
    schedule, at, found = parse(text, zone), parse_time(moment), []
    for _ in range(count):
        at = schedule.next(at)
        found.append(to_time(at))
    return found


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:30Z", ["2026-01-01T00:01:00Z"]),
        ("*/15 * * * *", "2026-01-01T00:45:00Z", ["2026-01-01T01:00:00Z", "2026-01-01T01:15:00Z"]),
        ("0 0 29 feb *", "2026-01-01T00:00:00Z", ["2028-02-29T00:00:00Z"]),
        ("0 12 * * MON-FRI", "2026-01-02T12:00:00Z", ["2026-01-05T12:00:00Z"]),
        # Both days given: either is enough.
        ("0 0 13 * FRI", "2026-02-01T00:00:00Z", ["2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z"]),
        # A star with a step is no star.
        ("0 0 */10 * SUN", "2026-02-01T00:00:00Z", ["2026-02-08T00:00:00Z", "2026-02-11T00:00:00Z"]),
        ("5/20 1-3/2 * * ?", "2026-01-01T00:00:00Z", ["2026-01-01T01:05:00Z", "2026-01-01T01:25:00Z"]),
        ("@hourly", "2026-01-01T00:00:00Z", ["2026-01-01T01:00:00Z"]),
        ("@weekly", "2026-01-01T00:00:00Z", ["2026-01-04T00:00:00Z"]),
        ("@every 1h30m", "2026-01-01T00:00:00Z", ["2026-01-01T01:30:00Z"]),
        ("TZ=Asia/Tokyo 0 9 * * *", "2026-01-01T00:00:00Z", ["2026-01-02T00:00:00Z"]),
    ],
)
def test_schedules(text, moment, expected):
    assert after(text, moment, count=len(expected)) == expected


def test_clock_changes():
    # Berlin skips 02:00 to 03:00 on 29 March 2026 and has it twice on 25 October.
    assert after("30 2 * * *", "2026-03-28T12:00:00Z", "Europe/Berlin") == ["2026-03-30T00:30:00Z"]
    assert after("30 2 * * *", "2026-10-24T12:00:00Z", "Europe/Berlin", 3) == [
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-26T01:30:00Z",
    ]


def test_a_day_that_never_comes():
    assert parse("0 0 30 2 *").next(parse_time("2026-01-01T00:00:00Z")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty spec string"),
        ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@never", "unrecognized descriptor: @never"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(CronError) as caught:
        parse(text)
    assert str(caught.value) == message


@given(
    st.sets(st.integers(0, 59), min_size=1, max_size=3),
    st.sets(st.integers(0, 23), min_size=1, max_size=3),
    st.integers(1_760_000_000, 1_800_000_000),
    st.sampled_from(["", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)
@settings(max_examples=100, deadline=None)
def test_the_next_time_is_the_first_that_matches(minutes, hours, moment, zone):
    text = f"{','.join(map(str, minutes))} {','.join(map(str, hours))} * * *"
    found = parse(text, zone).next(moment)
    location = ZoneInfo(zone) if zone else UTC
    at = moment - moment % 60 + 60
    while True:
        local = datetime.fromtimestamp(at, location)
        if local.minute in minutes and local.hour in hours:
            break
        at += 60
    assert found == at


def cron_job(**spec):
    template = {"metadata": {"labels": {"l": "v"}}, "spec": {"template": {"spec": {"containers": []}}}}
    return {
        "metadata": {"name": "cron", "namespace": "default"},
        "spec": {
            "schedule": "*/10 * * * *",
            "concurrencyPolicy": "Allow",
            "jobTemplate": template,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            **spec,
        },
    }


def finish(world, job, kind="Complete"):
    stamp = to_time(world.clock.now())
    status = {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": stamp}], "startTime": stamp}
    if kind == "Complete":
        status["completionTime"] = stamp
    world.api.update(JOBS, {**world.api.get(JOBS, "default", job["metadata"]["name"]), "status": status}, "status")


def reasons(world):
    return [e["reason"] for e in world.api.all(EVENTS)]


NAME = "cronjob-controller"


def test_makes_a_job_at_each_time(virtually):
    async def main(world):
        async def body():
            world.api.create(CRON_JOBS, cron_job(timeZone="Asia/Tokyo"))
            # It is 22:13:20 UTC.
            await world.settle(300)
            assert world.api.all(JOBS) == []
            await world.settle(600)
            (job,) = world.api.all(JOBS)
            due = parse_time("2023-11-14T22:20:00Z")
            assert job["metadata"]["name"] == f"cron-{int(due) // 60}"
            assert job["metadata"]["annotations"] == {
                "batch.kubernetes.io/cronjob-scheduled-timestamp": "2023-11-15T07:20:00+09:00",
            }
            assert job["metadata"]["labels"] == {"l": "v"}
            status = world.api.get(CRON_JOBS, "default", "cron")["status"]
            assert (
                status["lastScheduleTime"] == "2023-11-14T22:20:00Z"
                and status["active"][0]["name"] == job["metadata"]["name"]
            )
            finish(world, job)
            await world.settle(5)
            status = world.api.get(CRON_JOBS, "default", "cron")["status"]
            assert not status.get("active") and status["lastSuccessfulTime"]
            assert reasons(world) == ["SuccessfulCreate", "SawCompletedJob"]

        await world.managed(body, NAME)

    virtually(main)


@pytest.mark.parametrize(("policy", "left"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
def test_concurrency(virtually, policy, left):
    async def main(world):
        async def body():
            world.api.create(CRON_JOBS, cron_job(concurrencyPolicy=policy))
            await world.settle(1800)
            jobs = world.api.all(JOBS)
            assert len(jobs) == left
            newest = max(int(j["metadata"]["name"].split("-")[1]) for j in jobs)
            assert (newest == int(world.clock.now()) // 600 * 10) == (policy != "Forbid")
            active = world.api.get(CRON_JOBS, "default", "cron")["status"]["active"]
            assert {a["uid"] for a in active} == {j["metadata"]["uid"] for j in jobs}

        await world.managed(body, NAME)

    virtually(main)


def test_history_limits(virtually):
    async def main(world):
        async def body():
            world.api.create(CRON_JOBS, cron_job(successfulJobsHistoryLimit=1))
            seen = set()
            for n in range(6):
                await world.settle(600)
                for job in world.api.all(JOBS):
                    if job["metadata"]["name"] not in seen:
                        seen.add(job["metadata"]["name"])
                        finish(world, job, "Complete" if n % 2 else "Failed")
            await world.settle(5)
            assert len(seen) == 6 and len(world.api.all(JOBS)) == 2

        await world.managed(body, NAME)

    virtually(main)


def test_a_manager_that_slept_starts_one_job(virtually):
    async def main(world):
        world.api.create(CRON_JOBS, cron_job(schedule="* * * * *"))
        await world.clock.sleep(3 * 3600)

        async def body():
            await world.settle(1)
            assert len(world.api.all(JOBS)) == 1
            assert reasons(world) == ["TooManyMissedTimes", "SuccessfulCreate"]
            assert world.api.get(CRON_JOBS, "default", "cron")["status"]["lastScheduleTime"] == "2023-11-15T01:13:00Z"

        await world.managed(body, NAME)

    virtually(main)


def test_too_late_is_not_at_all(virtually):
    async def main(world):
        world.api.create(CRON_JOBS, cron_job(startingDeadlineSeconds=20))
        await world.clock.sleep(500)

        async def body():
            await world.settle(1)
            assert world.api.all(JOBS) == []
            await world.settle(600)
            assert len(world.api.all(JOBS)) == 1

        await world.managed(body, NAME)

    virtually(main)


def test_suspended_unknown_zone_and_nonsense(virtually):
    async def main(world):
        async def body():
            for n, spec in enumerate(({"suspend": True}, {"timeZone": "Nowhere"}, {"schedule": "nonsense"})):
                made = cron_job(**spec)
                made["metadata"]["name"] = f"c{n}"
                world.api.create(CRON_JOBS, made)
            await world.settle(3600)
            assert world.api.all(JOBS) == [] and set(reasons(world)) == {"UnknownTimeZone", "UnparseableSchedule"}

        await world.managed(body, NAME)

    virtually(main)


def test_a_job_that_vanished_is_forgotten(virtually):
    async def main(world):
        async def body():
            world.api.create(CRON_JOBS, cron_job())
            await world.settle(600)
            (job,) = world.api.all(JOBS)
            world.api.remove(JOBS, "default", job["metadata"]["name"])
            await world.settle(5)
            assert not world.api.get(CRON_JOBS, "default", "cron")["status"].get("active")
            assert "MissingJob" in reasons(world)

        await world.managed(body, NAME)

    virtually(main)


def test_finished_jobs_go_after_their_time(virtually):
    async def main(world):
        async def body():
            made = world.api.create(
                JOBS,
                {
                    "metadata": {"name": "j", "namespace": "default"},
                    "spec": {"ttlSecondsAfterFinished": 100},
                },
            )
            finish(world, made)
            await world.settle(90)
            assert len(world.api.all(JOBS)) == 1
            await world.settle(20)
            (left,) = world.api.all(JOBS)
            assert left["metadata"]["finalizers"] == ["foregroundDeletion"]

        await world.managed(body, "ttl-after-finished-controller")

    virtually(main)
