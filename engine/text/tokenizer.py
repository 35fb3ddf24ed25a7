"""Text to token ids and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tokenizers import Tokenizer as Backend

from engine.errors import InvalidRequest
from engine.text.byte_tokens import TokenBytes


class Tokenizer:
    """A tokenizer with what the model's files say about its special tokens. Picklable; safe to share among threads.

    `special_tokens` maps names ("bos_token", "eos_token", ...) to their texts, for chat templates. `eos_token_ids`
    are all tokens that end a generated text.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        eos_token_ids: Iterable[int] = (),
        bos_token_id: int | None = None,
        chat_template: str | None = None,
        special_tokens: Mapping[str, str] | None = None,
    ) -> None:
        # Cutting and padding, which some files ask for, would change requests silently.
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.eos_token_ids = tuple(eos_token_ids)
        self.bos_token_id = bos_token_id
        self.chat_template = chat_template
        self.special_tokens = dict(special_tokens or {})
        self.special_ids = frozenset(i for i, token in backend.get_added_tokens_decoder().items() if token.special)
        self.byte_tokens = TokenBytes.of(backend)
        self._bytes: dict[int, bytes] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (
            self.backend.to_str(),
            self.eos_token_ids,
            self.bos_token_id,
            self.chat_template,
            self.special_tokens,
        )

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the added ones included. The model's own vocabulary may be padded beyond it."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of `text`. Raises `InvalidRequest` if it has lone surrogates, which no encoding can express."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"The text is not valid Unicode: a lone surrogate (U+{ord(text[error.start]):04X}) at character "
                f"{error.start}. Send characters beyond U+FFFF whole."
            ) from None
        return self.backend.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of a whole sequence. Ids without a token count as nothing, invalid UTF-8 as U+FFFD.

        Raises `InvalidRequest` for ids that no vocabulary can have.
        """
        self._check(ids)
        if self.byte_tokens is None:
            return self.backend.decode(ids, skip_special_tokens=skip_special_tokens)
        skipped = self.special_ids if skip_special_tokens else frozenset()
        text = b"".join(self.token_bytes(i) for i in ids if i not in skipped).decode(errors="replace")
        return text.removeprefix(" ") if self.byte_tokens.strips_space else text

    def token_text(self, token_id: int) -> str:
        """One token's text by itself; parts of a character become U+FFFD."""
        return self.token_bytes(token_id).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """What one token adds to a text, b"" if there is no such token."""
        found = self._bytes.get(token_id)
        if found is None:
            self._check((token_id,))
            found = self._bytes[token_id] = self._spell(token_id)
        return found

    def _spell(self, token_id: int) -> bytes:
        if self.byte_tokens is None:
            return self.backend.decode([token_id], skip_special_tokens=False).encode()
        token = self.backend.id_to_token(token_id)
        return b"" if token is None else self.byte_tokens.encode(token)

    @staticmethod
    def _check(ids: Sequence[int]) -> None:
        if any(not 0 <= i < 1 << 32 for i in ids):
            raise InvalidRequest("Token ids are between 0 and the size of the vocabulary.")


def _rebuild(
    backend: str, eos: tuple[int, ...], bos: int | None, template: str | None, special: dict[str, str]
) -> Tokenizer:
    return Tokenizer(
        Backend.from_str(backend),
        eos_token_ids=eos,
        bos_token_id=bos,
        chat_template=template,
        special_tokens=special,
    )
