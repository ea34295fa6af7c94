"""The container runtime interface: how the kubelet speaks with containerd, and with anything else that serves CRI v1."""

from .client import CRIClient, CRIError

__all__ = ["CRIClient", "CRIError"]
