"""Cluster DNS: ``records`` (pure) turns Services and EndpointSlices into names, ``server`` answers, ``forward`` asks others.

Specified by the Kubernetes DNS-Based Service Discovery specification, version 1.1.0.
"""
