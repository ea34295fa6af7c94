"""Aggregation: group versions that other servers serve behind this one. Specified by "Kubernetes API Aggregation Layer".

``decide`` says what is available and what is registered by itself, ``merging`` puts discovery and OpenAPI together: pure.
``remotes`` knows who serves what and passes requests on, ``controller`` keeps the conditions and the documents true.
"""
