"""Ray core: nodes, placement, stages in actors. Knows nothing of HTTP or of Serve's deployments."""
