"""Deletes what is in a namespace that is being deleted: the pods first, then everything else that discovery knows."""
