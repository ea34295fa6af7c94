"""The REST client, kubeconfig, informers, leader election and events: how every component reaches the API server."""
