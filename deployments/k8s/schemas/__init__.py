"""Objects against schemas: Kubernetes' own kinds, KubeRay's, and the few of Prometheus' operator and the Gateway API
that are used here."""
