"""Pod garbage collection: pods that nobody will ever look after again are ended and removed."""
