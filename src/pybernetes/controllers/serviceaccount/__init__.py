"""Every namespace has a ServiceAccount ``default``."""
