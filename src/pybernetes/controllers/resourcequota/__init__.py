"""Resource quotas: counts anew what admission only adds to, when objects go or change. The arithmetic is ``api.quota``."""
