"""The composition root: certificates, the supervisor, nodes on one machine, and what ``p8s up`` and ``p8s down`` do.

Only this package (and ``cli`` and ``testing`` below it) knows all components.
"""
