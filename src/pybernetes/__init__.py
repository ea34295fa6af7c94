"""Pybernetes: Kubernetes v1.36 in Python.

The packages stand in layers; each imports only what stands above it in this list:
``api``, ``concurrency``, ``wire``, ``hooks``, ``storage`` || ``client``, ``apiserver`` || ``controllers`` ||
``scheduler`` || ``kubelet`` || ``proxy`` || ``dns``, ``cluster``, ``cli`` || ``testing``.
"""

__version__ = "0.1.0"

KUBERNETES_VERSION = "v1.36.2"
"""The version that ``/version`` reports: clients parse it to decide which features they may use."""
