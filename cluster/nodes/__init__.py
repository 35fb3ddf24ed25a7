"""A cluster of real Ray nodes on one machine: each in a network namespace of its own, with cables that can be cut."""
