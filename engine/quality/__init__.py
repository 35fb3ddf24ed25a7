"""How far a variant is from its reference: the same data through both, logits held against logits."""
