"""Traces of requests by OpenTelemetry: one for each request, from the caller through the front door to the stages."""
