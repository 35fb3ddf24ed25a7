"""Encoders at work: texts in, class scores or embeddings out."""
