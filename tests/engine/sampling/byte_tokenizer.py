"""A tokenizer of single bytes and a few longer pieces, with special tokens, for grammars to constrain."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

PIECES = (b'{"', b'":', b'": ', b"true", b"null", b'"}', b"}}", b"  ", b"12", b"abc", "é".encode(), b"\xff\xfe")


def _characters() -> list[str]:
    """The visible character that byte-level vocabularies write for each byte."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(others)) for byte in range(256)]


class ByteTokenizer:
    """What `engine.sampling` needs of a tokenizer. Ids: 256 bytes, the pieces, a hole, then the special tokens."""

    def __init__(self) -> None:
        characters = _characters()
        texts = [bytes([byte]) for byte in range(256)] + list(PIECES)
        self._bytes = dict(enumerate(texts))
        vocabulary = {"".join(characters[byte] for byte in text): token for token, text in enumerate(texts)}
        vocabulary["<|end|>"] = len(texts) + 1  # one id is left out, as some vocabularies do
        vocabulary["true<|x|>"] = len(texts) + 2
        self.backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
        self.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.backend.decoder = decoders.ByteLevel()
        self.backend.add_special_tokens([AddedToken("<|end|>", special=True), AddedToken("true<|x|>", special=True)])
        self.eos = vocabulary["<|end|>"]
        self.special = vocabulary["true<|x|>"]
        self.size = len(texts) + 3

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id]

    def decode(self, tokens: list[int]) -> bytes:
        return b"".join(self._bytes[token] for token in tokens if token in self._bytes)
