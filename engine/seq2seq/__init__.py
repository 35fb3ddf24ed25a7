"""Encoder-decoders at work: a source text's tokens in, a target text's tokens out."""
