"""The asyncio side of ``wire``: connections with back-pressure, relays between them, and small HTTP/1.1 ends.

Both the API server and the kubelet's server terminate, translate and relay upgraded connections; what they share is here.
"""
