"""The torch-only core: one process, one device. Knows neither Ray nor HTTP."""
