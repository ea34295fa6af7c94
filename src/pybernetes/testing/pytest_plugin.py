"""The pytest plugin that ships with the package: fixtures for people who test against Kubernetes."""
