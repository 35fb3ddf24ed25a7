"""The live view of a server: what `/metrics` and `/status` say, twice, as one frame."""
