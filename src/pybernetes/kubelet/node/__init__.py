"""The node as a whole: what machine it is, how it is, what it can still take, and telling the API so."""
