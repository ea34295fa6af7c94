"""The API server: HTTP front, request pipeline, registry of resources over a Store, watch cache, discovery and OpenAPI."""
