"""Contracts that a user's package can implement and announce by entry point; the built-in ones use the same.

``identity`` and ``authorization`` (who may do what), ``admission`` (change or refuse a write), ``reading`` (a view of the
cluster's objects for both), scheduler plugins and controllers.
"""
