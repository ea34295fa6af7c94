"""Audit: who did what, by a policy, into a log. Specified by the "Auditing" page.

``policy`` decides how much of a request is recorded, ``records`` makes the events, ``log`` writes and rotates the file.
"""
