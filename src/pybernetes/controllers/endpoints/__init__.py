"""Endpoints: the old API's list of a Service's pods. ``selection`` is what it shares with EndpointSlices."""
