"""KubeSchedulerConfiguration: what is taken, what is refused and in which words, and what becomes of it."""

import pytest
import yaml

from pybernetes.hooks.scheduling import Plugin
from pybernetes.scheduler.configuration import ConfigurationError, parse
from pybernetes.scheduler.handle import SchedulerHandle
from pybernetes.scheduler.model import Model, StaticObjects
from pybernetes.scheduler.plugins import builtin_factories
from pybernetes.scheduler.profiles import ProfileError, build_profile

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def config(text=""):
    return parse(yaml.safe_load(HEAD + text))


def profile(text="", **factories):
    chosen = config(text).profiles[0]
    return build_profile(chosen, SchedulerHandle(Model(), StaticObjects()), {**builtin_factories(), **factories})


def names(at, point):
    return [s.plugin.name for s in at.at(point)]


def test_the_default_profile_is_upstreams():
    default = profile()
    assert {s.plugin.name: s.weight for s in default.at("score")} == {
        "TaintToleration": 3,
        "NodeAffinity": 2,
        "NodeResourcesFit": 1,
        "PodTopologySpread": 2,
        "InterPodAffinity": 2,
        "NodeResourcesBalancedAllocation": 1,
        "ImageLocality": 1,
    }
    assert names(default, "filter") == [
        "NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
        "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "PodTopologySpread", "InterPodAffinity", "NodeDeclaredFeatures",
    ]  # fmt: skip
    assert names(default, "preEnqueue") == ["SchedulingGates", "DefaultPreemption"]
    assert names(default, "postFilter") == ["DefaultPreemption"]
    assert names(default, "bind") == ["DefaultBinder"]
    whole = config()
    assert (whole.parallelism, whole.initial_backoff, whole.maximum_backoff) == (16, 1.0, 10.0)


def test_points_and_weights_are_changed_one_by_one():
    changed = profile("""
profiles:
- plugins:
    score:
      disabled: [{name: ImageLocality}]
      enabled: [{name: NodeResourcesFit, weight: 7}]
    filter:
      disabled: [{name: NodePorts}]
""")
    scores = {s.plugin.name: s.weight for s in changed.at("score")}
    assert scores["NodeResourcesFit"] == 7 and "ImageLocality" not in scores and scores["TaintToleration"] == 3
    assert names(changed, "score")[0] == "NodeResourcesFit"
    assert "NodePorts" not in names(changed, "filter")


def test_a_star_disables_all_and_what_is_named_stays():
    few = profile("""
profiles:
- plugins:
    score: {disabled: [{name: "*"}], enabled: [{name: ImageLocality, weight: 5}]}
""")
    assert [(s.plugin.name, s.weight) for s in few.at("score")] == [("ImageLocality", 5)]
    multi = profile("""
profiles:
- plugins:
    multiPoint: {disabled: [{name: "*"}], enabled: [{name: PrioritySort}, {name: NodeResourcesFit}, {name: DefaultBinder}]}
""")
    assert names(multi, "filter") == ["NodeResourcesFit"]


class Fancy(Plugin):
    name = "Fancy"

    def __init__(self, args, handle):
        self.args = args

    def filter_node(self, state, pod, node):
        return None

    def score_node(self, state, pod, node):
        return 1


def test_a_foreign_plugin_takes_part_by_the_same_contract():
    text = """
profiles:
- plugins: {multiPoint: {enabled: [{name: Fancy, weight: 4}]}}
  pluginConfig: [{name: Fancy, args: {colour: red}}]
"""
    with_fancy = profile(text, Fancy=Fancy)
    assert names(with_fancy, "filter")[-1] == "Fancy"
    assert with_fancy.plugins["Fancy"].args == {"colour": "red"}
    assert with_fancy.at("score")[-1].weight == 4
    with pytest.raises(ProfileError, match='plugin "Fancy" does not exist'):
        profile(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profiles: [{schedulerName: a}, {schedulerName: a}]",
         'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"'),
        ("profiles: [{schedulerName: a}, {}]", "profiles[1].schedulerName: Required value"),
        ("parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        ("percentageOfNodesToScore: 101", "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
        ("podInitialBackoffSeconds: 0", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
        ("podMaxBackoffSeconds: 0",
         "podMaxBackoffSeconds: Invalid value: 0: must be greater than or equal to PodInitialBackoffSeconds"),
        ("percentOfNodes: 3", 'strict decoding error: unknown field "percentOfNodes"'),
        ("profiles: [{plugins: {filtre: {}}}]", 'strict decoding error: unknown field "profiles[0].plugins.filtre"'),
        ("leaderElection: {resourceLock: endpoints}",
         'leaderElection.resourceLock: Invalid value: "endpoints": resourceLock value must be "leases"'),
        ("profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]",
         "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"),
        ("profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]}]",
         'profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: "Best": supported values: '
         '"LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"'),
        ("profiles: [{pluginConfig: [{name: PodTopologySpread, args: {defaultConstraints: [{maxSkew: 1, topologyKey: z, "
         "whenUnsatisfiable: DoNotSchedule}]}}]}]",
         'profiles[0].pluginConfig[0].args.defaultingType: Invalid value: "System": when .defaultConstraints are not empty'),
        ("profiles: [{plugins: {queueSort: {enabled: [{name: PrioritySort}, {name: Fancy}]}}}]",
         "profiles[0].plugins.queueSort.Enabled: Invalid value: 2: only one queue sort plugin can be enabled"),
        ("extenders: [{urlPrefix: http://x}]", "extenders: Forbidden: scheduler extenders are not supported"),
    ],
)  # fmt: skip
def test_bad_configurations_are_refused_in_upstreams_words(text, message):
    with pytest.raises(ConfigurationError) as failure:
        config(text)
    assert message in str(failure.value)


@pytest.mark.parametrize("document", [None, [], {}, {"kind": "Pod"}, {"kind": "KubeSchedulerConfiguration"}])
def test_what_is_no_configuration(document):
    with pytest.raises(ConfigurationError):
        parse(document)


def test_a_profile_without_a_way_to_bind_or_sort():
    without = "profiles: [{plugins: {multiPoint: {disabled: [{name: DefaultBinder}]}}}]"
    with pytest.raises(ProfileError, match="at least one bind plugin is needed"):
        profile(without)
    with pytest.raises(ProfileError, match="at least one queue sort plugin is needed"):
        profile("profiles: [{plugins: {multiPoint: {disabled: [{name: PrioritySort}]}}}]")
    with pytest.raises(ProfileError, match='plugin "ImageLocality" does not extend FilterPlugin plugin'):
        profile("profiles: [{plugins: {filter: {enabled: [{name: ImageLocality}]}}}]")
