"""Mirrors Endpoints that people write by hand (Services without a selector) into EndpointSlices."""
