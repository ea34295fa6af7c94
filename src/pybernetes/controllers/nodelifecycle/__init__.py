"""Node lifecycle: a node that renews its lease no more becomes Unknown, and gets the taints that its conditions call for."""
