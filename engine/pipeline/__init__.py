"""A model cut into stages: who holds which layers, what travels between them, what a stage computes. No sockets here:
`cluster/pipeline/` puts stages into processes and links them."""
