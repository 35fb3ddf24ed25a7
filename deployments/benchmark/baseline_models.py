"""What the baseline's replicas run: `transformers` as its own pages show it, in fp32, one request at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

TRIES = 3
# What the benchmark's own scenarios ask, in length: the number of threads that is fastest depends on it.
PROMPT = (
    "The small engine stood in its shed by the river, and every morning the old driver came with a can of oil and a "
    "piece of bread, to see whether it would"
)
TOKENS = 64
TEXT = "My card has not arrived yet, what should I do now?"
LETTER = " ".join([TEXT] * 9)
SENTENCE = "Two boys build a tower of sand near the water."


def tried(
    work: Callable[[], object], counts: Sequence[int], clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Seconds that `work` takes with so many threads: in turn, the best of some tries."""
    best = dict.fromkeys(counts, float("inf"))
    for _ in range(TRIES):
        for count in counts:
            torch.set_num_threads(count)
            started = clock()
            work()
            best[count] = min(best[count], round(clock() - started, 5))
    return best


def counts(most: int) -> list[int]:
    """Of threads worth a try: powers of two, and the most."""
    return sorted({most, *(1 << power for power in range(most.bit_length()))})


def use_threads(threads: int, most: int, work: Callable[[], object]) -> dict[int, float]:
    """So many, or with 0 as many as are the fastest: the most are not always, and a baseline is to be as fast as it can
    be. What was tried."""
    times = {} if threads or most == 1 else tried(work, counts(most))
    torch.set_num_threads(threads or min(times, key=lambda count: times[count], default=1))
    return times


def source_of(path: Path) -> dict[str, Any]:
    """How `from_pretrained` is told to read a folder, or a GGUF file."""
    if path.is_file():
        return {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    return {"pretrained_model_name_or_path": path}


class PlainGenerator:
    """Greedy continuations of a prompt, with transformers' own KV cache."""

    def __init__(self, path: Path, threads: int, most: int = 1) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(**source_of(path))
        self.model = AutoModelForCausalLM.from_pretrained(**source_of(path), dtype=torch.float32).eval()
        self.ends = self.model.generation_config.eos_token_id
        self.tried_s = use_threads(threads, most, lambda: self.complete(PROMPT, TOKENS, ignore_eos=True))

    @torch.inference_mode()
    def complete(self, prompt: str, max_tokens: int, *, ignore_eos: bool) -> tuple[list[int], list[int]]:
        """Tokens of the prompt and of the answer. With `ignore_eos` it goes on after an end token, as OpenAI's servers
        do that know the word; `min_new_tokens` would keep the model from choosing one, which is another answer."""
        self.model.generation_config.eos_token_id = None if ignore_eos else self.ends
        inputs = self.tokenizer(prompt, return_tensors="pt")
        padding = self.tokenizer.eos_token_id  # of nothing here, but transformers warns without
        out = self.model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False, pad_token_id=padding)
        size = inputs["input_ids"].shape[1]
        return out[0, :size].tolist(), out[0, size:].tolist()

    def text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


class PlainClassifier:
    """Labels and probabilities of one text after another."""

    def __init__(self, path: Path, threads: int, most: int = 1) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
        self.labels = self.model.config.id2label
        self.tried_s = use_threads(threads, most, lambda: (self.classify(TEXT), self.classify(LETTER)))

    @torch.inference_mode()
    def classify(self, text: str) -> tuple[str, list[float], int]:
        """Label, probabilities of all labels, and how many tokens the text was."""
        inputs = self.tokenizer(text, return_tensors="pt", truncation=True)
        probs = self.model(**inputs).logits[0].softmax(-1)
        return self.labels[int(probs.argmax())], probs.tolist(), inputs["input_ids"].shape[1]


class PlainTranslator:
    """One sentence after another, with the search that the model's own files ask for."""

    def __init__(self, path: Path, threads: int, most: int = 1) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32).eval()
        self.tried_s = use_threads(threads, most, lambda: self.translate(SENTENCE))

    @torch.inference_mode()
    def translate(self, sentence: str) -> str:
        inputs = self.tokenizer(sentence, return_tensors="pt")
        out = self.model.generate(**inputs, do_sample=False)
        return str(self.tokenizer.decode(out[0], skip_special_tokens=True))
