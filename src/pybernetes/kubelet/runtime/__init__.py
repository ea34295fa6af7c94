"""The runtime beside the kubelet: starting containerd, making and loading images."""
