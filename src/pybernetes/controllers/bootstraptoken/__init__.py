"""Bootstrap tokens: expired ones are deleted; the others sign the public ``cluster-info``. Off unless named, as upstream."""
