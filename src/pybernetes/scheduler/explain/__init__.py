"""Why a pod is where it is, or nowhere: the scheduler's own rules asked again, for people.

Pure: a question is put to an ``Evaluator`` over a ``Model``, live in the scheduler or made from lists (``p8s why``), and
nothing in either is changed by the answer. For every node the plugins that refuse the pod and by how much, the scores of the
others, what change of the pod or of the cluster would make it fit (each one tried before it is told), and which pods
preemption would remove.
"""

from .answers import Change, Explanation, NodeAnswer, Preemption, Refusal
from .asking import World, explain
from .words import told

__all__ = ["Change", "Explanation", "NodeAnswer", "Preemption", "Refusal", "World", "explain", "told"]
