"""Protection of storage in use: a claim that pods use, and a volume that is bound, stay until they are not."""
