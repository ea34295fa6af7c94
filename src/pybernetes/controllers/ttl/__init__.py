"""Tells kubelets how long they may cache Secrets and ConfigMaps: the more nodes, the longer."""
