"""A pod's volumes: what is in them, how they come to be in the pod's directory, and how they leave it again."""
