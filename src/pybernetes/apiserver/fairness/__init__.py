"""API priority and fairness: which requests run now, which wait, which are turned away. Specified by "API Priority and Fairness".

``matching`` finds the FlowSchema, ``shares`` says how many seats a priority level has, ``estimating`` how many a request
takes, ``queueset`` who is next: all of that is pure. ``fairness`` is what the request path asks, ``upkeep`` keeps the
bootstrap objects and the schemas' status true, ``metrics`` and ``dumps`` show what goes on.
"""
