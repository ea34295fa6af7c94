"""Every namespace has a ConfigMap ``kube-root-ca.crt``: how pods know the API server."""
