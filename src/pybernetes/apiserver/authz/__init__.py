"""Authorization: RBAC, the node authorizer, ABAC, webhook, and the words of a refusal."""
