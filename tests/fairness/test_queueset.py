"""Fair queueing on virtual time, with plain data."""

import random

from pybernetes.apiserver.fairness.matching import deal, flow_hash
from pybernetes.apiserver.fairness.queueset import ONE, QueueSet, Ticket, Work


def queue_set(limit=2, queues=8, hand=2, length=10):
    found = QueueSet(0.0)
    assert found.configure(queues, hand, length, limit, 0.0) == []
    return found


def arrive(queues, flow, now, work=ONE):
    """(ticket, those that began by it); ticket None where it was rejected."""
    ticket = Ticket(work, None, flow)
    if queues.free(work.most):
        queues.begin(ticket, now)
        return ticket, [ticket]
    hand = deal(flow_hash("s", flow), len(queues.queues), queues.hand) if queues.hand else ()
    if not queues.enqueue(ticket, hand, now):
        return None, []
    return ticket, queues.dispatch(now)


def test_a_hand_is_dealt_without_repeats_and_depends_on_the_flow():
    hands = {flow: deal(flow_hash("schema", flow), 64, 6) for flow in map(str, range(300))}
    assert all(len(set(h)) == 6 and max(h) < 64 for h in hands.values())
    assert len(set(hands.values())) > 290
    assert deal(5, 1, 1) == (0,)


def test_the_deal_is_uniform_over_the_deck():
    # Every hash below deck * (deck-1) * (deck-2) gives another ordered hand.
    assert len({deal(n, 6, 3) for n in range(6 * 5 * 4)}) == 6 * 5 * 4


def test_free_seats_are_given_at_once_and_counted():
    queues = queue_set(limit=2)
    first, _ = arrive(queues, "a", 0.0)
    arrive(queues, "a", 0.0)
    assert queues.in_use == 2 and not queues.free(1)
    third, begun = arrive(queues, "a", 0.0)
    assert begun == [] and queues.waiting == 1
    assert queues.finish(first, 1.0) == [third]
    queues.validate_state()


def test_a_flood_does_not_hold_up_another_flow():
    """One flow has a hundred requests waiting; another's single request is next but one."""
    queues = queue_set(limit=1, queues=64, hand=4, length=50)
    running, _ = arrive(queues, "flood", 0.0)
    for _ in range(100):
        arrive(queues, "flood", 0.0)
    mine, _ = arrive(queues, "mouse", 0.01)
    now, served = 0.01, 0
    while mine.started < 0:
        now += 0.05
        (running,) = queues.finish(running, now)
        served += 1
        queues.validate_state()
    assert served <= 4 + 1  # the flood has a hand of four queues


def test_flows_share_in_proportion_to_their_number_not_their_requests():
    rng, queues, now = random.Random(3), queue_set(limit=4, queues=128, hand=1, length=1000), 0.0
    served = {"a": 0, "b": 0, "c": 0}
    running = []
    for _ in range(900):
        arrive(queues, "a", now)
        for flow in "bc":
            if rng.random() < 0.4:
                arrive(queues, flow, now)
    running += queues.unqueued
    for _ in range(400):
        now += 0.01
        ticket = running.pop(0)
        served[ticket.flow] += 1
        running += queues.finish(ticket, now)
        queues.validate_state()
    assert all(abs(n - 133) <= 8 for n in served.values()), served


def test_wide_requests_count_for_as_much_as_they_take():
    queues, now = queue_set(limit=10, queues=128, hand=1, length=1000), 0.0
    running, seats = [], {"wide": 0.0, "narrow": 0.0}
    for _ in range(500):
        arrive(queues, "wide", now, Work(5))
        arrive(queues, "narrow", now)
    running += queues.unqueued
    for _ in range(400):
        now += 0.003
        ticket = running.pop(0)
        seats[ticket.flow] += ticket.work.seats * (now - ticket.started)
        running += queues.finish(ticket, now)
    assert 0.7 < seats["wide"] / seats["narrow"] < 1.4, seats


def test_a_full_queue_rejects_and_a_level_without_queues_does_at_once():
    queues = queue_set(limit=1, queues=1, hand=1, length=2)
    assert [arrive(queues, "a", 0.0)[0] is not None for _ in range(5)] == [True, True, True, False, False]
    assert queues.rejected == 2
    unqueued = queue_set(limit=1, queues=0, hand=0)
    assert [arrive(unqueued, "a", 0.0)[0] is not None for _ in range(3)] == [True, False, False]


def test_what_wants_more_than_there_is_gets_all_of_it():
    queues = queue_set(limit=3)
    wide, begun = arrive(queues, "a", 0.0, Work(9))
    assert begun == [wide]
    narrow, begun = arrive(queues, "b", 0.0)
    assert begun == []
    assert queues.finish(wide, 1.0) == [narrow]


def test_giving_up_leaves_no_trace():
    queues = queue_set(limit=1)
    first, _ = arrive(queues, "a", 0.0)
    second, _ = arrive(queues, "a", 0.0)
    third, _ = arrive(queues, "b", 0.0)
    assert queues.give_up(second, 1.0, timed_out=True) == []
    queues.validate_state()
    assert queues.finish(first, 2.0) == [third]
    assert (queues.timed_out, queues.waiting, queues.in_use) == (1, 0, 1)


def test_seats_linger_until_events_are_out():
    queues = queue_set(limit=2)
    write, _ = arrive(queues, "a", 0.0, Work(1, 2, 0.5))
    waiting, begun = arrive(queues, "b", 0.0)
    assert begun == [] and queues.finish(write, 0.1) == []
    assert queues.release(write, 0.6) == [waiting]
    queues.validate_state()


def test_an_exempt_level_never_waits():
    queues = queue_set(limit=1, queues=-1, hand=0)
    assert all(arrive(queues, "a", 0.0)[1] for _ in range(50))
    assert queues.in_use == 50


def test_fewer_queues_serve_what_waits_in_the_old_ones():
    queues = queue_set(limit=1, queues=16, hand=4)
    running, _ = arrive(queues, "x", 0.0)
    waiting = {arrive(queues, str(i), 0.0)[0] for i in range(40)}
    queues.configure(2, 1, 10, 1, 0.1)
    now = 0.1
    while waiting:
        now += 0.01
        (running,) = queues.finish(running, now)
        waiting.discard(running)
        queues.validate_state()
    queues.finish(running, now)
    queues.configure(2, 1, 10, 1, now)
    assert len(queues.queues) == 2


def test_any_order_of_events_keeps_the_sums():
    rng = random.Random(11)
    for _ in range(30):
        queues = queue_set(limit=rng.randint(1, 6), queues=rng.choice([1, 4, 16]), hand=1, length=3)
        now, running, waiting = 0.0, [], []
        for _ in range(200):
            now += rng.random() * 0.01
            event = rng.random()
            if event < 0.6:
                ticket, begun = arrive(queues, rng.choice("abcd"), now, Work(rng.randint(1, 8)))
                if ticket is not None and ticket not in begun:
                    waiting.append(ticket)
            elif event < 0.9 and running:
                begun = queues.finish(running.pop(rng.randrange(len(running))), now)
            elif waiting:
                begun = queues.give_up(waiting.pop(rng.randrange(len(waiting))), now, timed_out=False)
            else:
                continue
            running += begun
            waiting = [t for t in waiting if t not in begun]
            queues.validate_state()
            # Nobody waits while the one who is next would find a seat.
            assert not queues.waiting or queues.in_use >= queues.limit or queues.no_accommodation
