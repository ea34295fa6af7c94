"""The built-in provisioner: volumes that are directories on a node, and the default StorageClass ``standard`` for them.

To everything else it is an external provisioner like any other: it acts on claims that the binder has marked with its name.
"""
