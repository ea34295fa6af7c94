"""The iptables mode: chains laid out and named as kube-proxy's, so that what people know of those is found here.

``layout`` (pure) says which rules one Service port needs, ``rules`` (pure) keeps all of them and what changed, ``text`` (pure)
writes and reads what ``iptables-restore`` and ``iptables-save`` speak, ``backend`` runs those.
"""
