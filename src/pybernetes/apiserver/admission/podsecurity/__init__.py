"""Pod Security Standards: the checks (pure), a namespace's policy (pure), and the admission plugin."""
