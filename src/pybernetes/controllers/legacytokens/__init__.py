"""Takes unused ServiceAccount tokens of the old kind away. Specified by KEP-2799 and "Legacy ServiceAccount token cleaner"."""
