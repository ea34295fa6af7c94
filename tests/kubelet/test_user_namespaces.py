"""Ids of the host that pods have to themselves."""

import pytest

from pybernetes.kubelet.pod.env import ConfigError
from pybernetes.kubelet.user_namespaces import UserNamespaces

from .builders import pod


def named(uid, **spec):
    return pod(meta={"uid": uid}, **spec)


def host_id(options):
    return options["uids"][0]["host_id"]


def test_only_pods_that_ask_get_one(tmp_path):
    users = UserNamespaces(tmp_path, maximum=3)
    assert users.options(named("a"), supported=False) is None
    assert users.options(named("a", hostUsers=True), supported=True) is None
    with pytest.raises(ConfigError, match="does not support user namespaces"):
        users.options(named("a", hostUsers=False), supported=False)


def test_ranges_do_not_overlap_and_survive_a_restart(tmp_path):
    users = UserNamespaces(tmp_path, maximum=3)
    first = users.options(named("a", hostUsers=False), supported=True)
    assert first == users.options(named("a", hostUsers=False), supported=True)
    second = users.options(named("b", hostUsers=False), supported=True)
    assert {host_id(first), host_id(second)} == {65536, 131072}
    again = UserNamespaces(tmp_path, maximum=3)
    assert host_id(again.options(named("c", hostUsers=False), supported=True)) == 196608
    assert again.options(named("b", hostUsers=False), supported=True) == second
    with pytest.raises(ConfigError, match="empty slot"):
        again.options(named("d", hostUsers=False), supported=True)
    again.release("a")
    assert host_id(again.options(named("d", hostUsers=False), supported=True)) == 65536
