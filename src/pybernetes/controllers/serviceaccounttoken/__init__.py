"""Secrets of type ``kubernetes.io/service-account-token``: long-lived tokens that somebody asks for by making the Secret."""
