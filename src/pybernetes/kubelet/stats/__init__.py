"""Figures of the node, its pods and containers: ``/stats/summary`` and the metrics endpoints.

``figures`` parses cgroup files (pure), ``cgroup_reader`` reads them, ``snapshot`` is what was read at one moment; ``summary``, ``cadvisor``
and ``resource`` turn a snapshot into what is served (pure). ``source.Stats`` puts them together. Nothing runs between two requests.
"""

from .source import Stats

__all__ = ["Stats"]
