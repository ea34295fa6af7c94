"""CertificateSigningRequests: kubelets' own are approved, approved ones are signed, old ones are cleaned away."""
