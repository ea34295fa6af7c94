"""The controllers: what kube-controller-manager does, one package a controller.

In each package ``decide.py`` is pure: it takes a snapshot of objects (as the informers hold them) and the time, and gives
commands (``commands``). ``controller.py`` is its shell: it says which events wake which keys, gathers the snapshot, and has the
commands carried out (``runtime``). A decision that needs several writes one after another gives the first ones only: every
answer goes into the informer's copy at once (``Informer.observe``), which wakes the key again. So there is no state beside the
objects, and a manager that dies anywhere leaves nothing that its successor cannot pick up.
"""
