"""The binder of PersistentVolumes and claims. ``matching`` says what fits, ``decide`` what the next step of each object is."""
