"""Ray Serve, HTTP, configuration and the command line."""
