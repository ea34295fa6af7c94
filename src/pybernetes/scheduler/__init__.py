"""The scheduler: finds a node for every pod that has none. Specified by the "Kubernetes Scheduler" pages.

``requests`` and ``filters`` are pure; ``scheduler`` is the shell: queue, snapshot from informers, bind, events, conditions.
"""
