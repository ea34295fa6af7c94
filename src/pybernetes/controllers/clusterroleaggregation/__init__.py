"""ClusterRoles that are made of others: those with an aggregationRule get the rules of all that it selects."""
