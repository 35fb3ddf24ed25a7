"""The server's count of tokens (`usage`) against a tokenizer's, for the answers whose text was kept.

A text need not fall into the tokens that it was made of: special tokens are left out, and rare sequences are cut in
another way. A server that counts rightly agrees within some percent; one that counts words, or bundles, does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from loadtest.errors import LoadTestError
from loadtest.record import Record
from loadtest.scenario import GENERATING
from loadtest.watch import bearer

ASK_S = 10.0
LIMIT_S = 20.0  # for all of them: the run waits for it
MOST_ANSWERS = 32
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


def usage_verdict(records: Sequence[Record]) -> str:
    """What is odd about the server's own counts, in words: answers without one, and with another than was asked."""
    complete = [one for one in records if one.kind in GENERATING and not one.failure]
    without = sum(one.output_tokens == 0 for one in complete)
    other = sum(one.exact_tokens != one.output_tokens for one in complete if one.exact_tokens and one.output_tokens)
    said = []
    if without:
        said.append(
            f"{without} of {len(complete)} complete answers came without `usage`: tokens/s and times per token are "
            "without them."
        )
    if other:
        said.append(
            f"{other} of {len(complete)} complete answers have another number of tokens than the one that was asked: "
            "does the server know `ignore_eos`?"
        )
    return " ".join(said)


def check_tokens(records: Sequence[Record], count: Count) -> TokenCheck:
    """Of the first complete answers of generation whose text is there, as many as are counted in time."""
    kept = [one for one in records if one.kind in GENERATING and not one.failure and one.text and one.output_tokens]
    deadline = time.monotonic() + LIMIT_S
    pairs = []
    for one in kept[:MOST_ANSWERS]:
        if time.monotonic() > deadline:
            break
        pairs.append((one.output_tokens, count(one.model, one.text)))
    told, found = sum(usage for usage, _ in pairs), sum(counted for _, counted in pairs)
    return TokenCheck(len(pairs), told, found, sum(usage == counted for usage, counted in pairs))


@contextmanager
def by_server(url: str, api_key: str = "") -> Iterator[Count]:
    """Counts by `POST /tokenize`, as vLLM has it. The count raises LoadTestError where the server has none."""
    with httpx.Client(timeout=ASK_S, headers=bearer(api_key)) as client:

        def count(model: str, text: str) -> int:
            body = {"model": model, "prompt": text, "add_special_tokens": False}
            try:
                answer = client.post(f"{url.rstrip('/')}/tokenize", json=body).raise_for_status().json()
                return int(answer["count"])
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                raise LoadTestError(f"{url}/tokenize does not count tokens: {error}") from None

        yield count
