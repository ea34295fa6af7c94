"""Protection of storage in use: a claim that pods use, a volume that is bound and a class of attributes that either of them
names stay until they are not."""
