"""The garbage collector: objects whose owners are gone are deleted; owners that are deleted in the foreground wait for theirs.

``graph`` (pure) knows who depends on whom and which nodes an event concerns; ``decide`` (pure) says what becomes of one
object, given what is known of its owners. Specified by the "Garbage Collection" page of the documentation.
"""
