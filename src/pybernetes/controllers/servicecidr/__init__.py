"""ServiceCIDRs: ready when they are there, and kept while Services have addresses that no other range covers."""
