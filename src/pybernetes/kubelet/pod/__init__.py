"""The pure part of the kubelet: no asyncio, socket, subprocess, file or clock. What is true goes in, what to do comes out."""
