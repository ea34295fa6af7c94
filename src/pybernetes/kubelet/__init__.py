"""The kubelet: the whole life of the pods that are bound to one node.

``pod/`` is pure: a pod's spec, what the runtime says and the time go in, instructions come out. ``kubelet.py`` is the shell that
carries them out: one latest-wins slot and one worker a pod. ``cri/`` talks to the runtime, ``volumes/`` make directories,
``node/`` speaks for the machine. ``server/`` and ``streaming/`` are the HTTPS server, which knows the rest by ``interfaces.py`` only.
"""
