"""Job: runs pods until so many have succeeded; indexed or not, with limits of failures, policies and suspension.

``intervals``: sets of completion indexes as the status writes them. ``policies``: pod failure and success policies. ``decide``:
how a Job stands, and which pods to make or delete. ``tracking``: counting each finished pod exactly once, with the help of a
finalizer: first its uid goes into the status, then the finalizer comes off, then it moves into the counters.
"""
