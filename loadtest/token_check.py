"""The server's count of tokens (`usage`) against a tokenizer's, for the answers whose text was kept.

A text need not fall into the tokens that it was made of: special tokens are left out, and rare sequences are cut in
another way. A server that counts rightly agrees within some percent; one that counts words, or bundles, does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from loadtest.errors import LoadTestError
from loadtest.record import Record
from loadtest.scenario import GENERATING

ASK_S = 10.0
MOST_APART = 0.05

Count = Callable[[str, str], int]  # of a model's tokens in a text


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """Of `answers`: the tokens that the server told, those that the tokenizer found, and in how many both are equal."""

    answers: int
    usage: int
    tokenizer: int
    equal: int

    @property
    def verdict(self) -> str:
        """In words; "" where the counts agree, or nothing was to be compared."""
        if not self.answers or abs(self.usage - self.tokenizer) <= MOST_APART * max(self.usage, self.tokenizer):
            return ""
        return (
            f"The server counted {self.usage} tokens in {self.answers} answers, its tokenizer counts {self.tokenizer}: "
            "tokens/s and times per token cannot be trusted."
        )


def check_tokens(records: Sequence[Record], count: Count) -> TokenCheck:
    """Of the complete answers of generation whose text is there."""
    kept = [one for one in records if one.kind in GENERATING and not one.failure and one.text and one.output_tokens]
    pairs = [(one.output_tokens, count(one.model, one.text)) for one in kept]
    told, found = sum(usage for usage, _ in pairs), sum(counted for _, counted in pairs)
    return TokenCheck(len(pairs), told, found, sum(usage == counted for usage, counted in pairs))


def by_server(url: str) -> Count:
    """Counts by `POST /tokenize`, as vLLM has it. The count raises LoadTestError where the server has none."""

    def count(model: str, text: str) -> int:
        body = {"model": model, "prompt": text, "add_special_tokens": False}
        try:
            answer = httpx.post(f"{url.rstrip('/')}/tokenize", json=body, timeout=ASK_S).raise_for_status().json()
            return int(answer["count"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise LoadTestError(f"{url}/tokenize does not count tokens: {error}") from None

    return count


def by_file(path: Path) -> Count:
    """Counts by a `tokenizer.json`, or by the one in a folder. Raises LoadTestError for a file that is none."""
    from tokenizers import Tokenizer

    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises no other
        raise LoadTestError(f"{file}: not a tokenizer: {error}.") from None
    return lambda _, text: len(tokenizer.encode(text, add_special_tokens=False).ids)
