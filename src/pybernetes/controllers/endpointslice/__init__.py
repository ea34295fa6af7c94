"""EndpointSlices: a Service's pods in pieces of at most a hundred, by address family and ports."""
