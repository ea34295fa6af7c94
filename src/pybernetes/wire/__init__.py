"""Sans-io codecs: bytes in, events out, no socket and no clock.

``spdy`` and ``websocket`` are the two ways in which Kubernetes streams multiplex a connection, ``channels`` the numbered channels
inside a WebSocket, ``remotecommand`` and ``portforward`` what runs on top of both, ``upgrade`` the HTTP exchange before, ``watch``
the framing of events. The asyncio side is ``pybernetes.streams``.
"""
