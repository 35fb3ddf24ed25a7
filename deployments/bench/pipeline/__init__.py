"""A pipeline of stages measured against one process with the same cores, and seen batch by batch."""
