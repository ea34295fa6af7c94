"""Generic ephemeral volumes: a claim of a pod's own, which lives and dies with it."""
