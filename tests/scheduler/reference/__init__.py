"""What the scheduler ought to decide: every default filter and score of upstream, written once more, slowly and obviously.

Plain Python over plain dicts, from the documentation and the behaviour of v1.36's plugins. Nothing is kept between two
questions, nothing is computed ahead, each rule is asked for each node. It shares no code with ``pybernetes.scheduler``:
where the two differ, one of them is wrong, and the property tests beside it say on which cluster.
"""

from .cluster import Cluster, Refusal
from .cycle import WEIGHTS, answer, message
from .preemption import Candidate, best, candidates, not_eligible
from .resources import allocation_scores

__all__ = [
    "WEIGHTS",
    "Candidate",
    "Cluster",
    "Refusal",
    "allocation_scores",
    "answer",
    "best",
    "candidates",
    "message",
    "not_eligible",
]
