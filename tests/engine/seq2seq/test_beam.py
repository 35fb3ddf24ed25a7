"""Beam search, greedy decoding and every restriction against `transformers`' generate, with settings at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.seq2seq.config import Seq2SeqConfig
from engine.seq2seq.engine import Seq2SeqEngine
from engine.seq2seq.load import load_seq2seq_engine
from engine.seq2seq.request import Decoding, Translated, TranslateRequest
from tests.engine.tiny_seq2seq import write_checkpoint

CONFIG = Seq2SeqConfig(precision="fp32", max_model_len=40, max_new_tokens=40, cache_bytes=1 << 20, max_running=3)
EOS = 0

Sources = list[tuple[int, ...]]


def translate(engine: Seq2SeqEngine, sources: Sources, decodings: list[Decoding]) -> list[Translated]:
    """All at once, in the order given."""
    for number, (source, decoding) in enumerate(zip(sources, decodings, strict=True)):
        request = TranslateRequest(str(number), source, decoding)
        engine.prepare(request)
        engine.add(request)
    found: dict[str, Translated] = {}
    while not engine.idle:
        found.update(engine.step())
        engine.check()
    assert engine.slots.used == 0
    return [found[str(number)] for number in range(len(sources))]


def generate(model: Any, source: tuple[int, ...], d: Decoding) -> tuple[list[list[int]], list[float]]:
    """What `transformers` makes of it: tokens without start and end, and scores of beam search."""
    made = model.generate(
        input_ids=torch.tensor([source]),
        max_length=d.max_tokens + 1,
        min_length=d.min_tokens,
        num_beams=d.beams,
        num_return_sequences=d.hypotheses,
        length_penalty=d.length_penalty,
        early_stopping=d.early_stopping,
        repetition_penalty=d.repetition_penalty,
        no_repeat_ngram_size=d.no_repeat_ngram,
        forced_bos_token_id=d.first_token,
        forced_eos_token_id=EOS if d.force_end else None,
        bad_words_ids=[[token] for token in d.forbidden] or None,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    tokens = []
    for row in made.sequences[:, 1:].tolist():
        ended = row.index(EOS) if EOS in row else None
        kept = row[:ended]
        while ended is None and kept and kept[-1] == model.config.pad_token_id:
            kept.pop()
        tokens.append(kept)
    if d.beams == 1:
        return tokens, []
    # Where nothing else is possible it fills up with what has the score of the impossible, in an order of chance.
    scores = made.sequences_scores.tolist()
    lengths = [max(len(row) + (len(row) < d.max_tokens), 1) for row in tokens]
    real = sum(score * length**d.length_penalty > -1e8 for score, length in zip(scores, lengths, strict=True))
    return tokens[:real], scores[:real]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Any, Seq2SeqEngine]]:
    """Random Marian models; some like to end soon and some late."""
    made: dict[int, tuple[Any, Seq2SeqEngine]] = {}

    def model(which: int) -> tuple[Any, Seq2SeqEngine]:
        if which not in made:
            folder: Path = tmp_path_factory.mktemp("marian")
            theirs = write_checkpoint(
                "marian",
                folder,
                seed=which,
                d_model=24,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_layers=1,
                decoder_layers=1,
                forced_eos_token_id=None,
                bad_words_ids=None,
            )
            with torch.no_grad():
                theirs.final_logits_bias *= 0.5
                theirs.final_logits_bias[0, EOS] = (2.0, 6.0, 9.0)[which % 3]
                theirs.model.shared.weight *= 0.4
            theirs.save_pretrained(folder)
            for key in ("max_length", "bad_words_ids", "forced_eos_token_id", "num_beams"):
                setattr(theirs.generation_config, key, None)
            made[which] = theirs, load_seq2seq_engine(folder, CONFIG)
        return made[which]

    return model


TOKENS = st.integers(1, 129)
SOURCES = st.lists(st.lists(TOKENS, min_size=1, max_size=20).map(tuple), min_size=1, max_size=5)


@st.composite
def decodings(draw: st.DrawFn) -> Decoding:
    beams = draw(st.sampled_from([1, 2, 3, 4, 5]))
    longest = draw(st.integers(1, 14))
    first = draw(st.none() | TOKENS)
    forbidden = draw(st.lists(TOKENS.filter(lambda token: token != first), max_size=3))
    return Decoding(
        max_tokens=longest,
        min_tokens=draw(st.integers(0, longest)),
        beams=beams,
        hypotheses=draw(st.integers(1, beams)),
        length_penalty=draw(st.sampled_from([1.0, 0.0, 0.6, 2.0, -1.0])),
        early_stopping=draw(st.sampled_from([False, True, "never"])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.0, 1.3, 0.8])),
        no_repeat_ngram=draw(st.sampled_from([0, 0, 2, 3])),
        first_token=first,
        force_end=draw(st.booleans()),
        forbidden=tuple(dict.fromkeys([130, *forbidden])),  # padding could not be told from what follows the end
    )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 5), sources=SOURCES, data=st.data())
def test_tokens_and_scores_are_those_of_transformers(
    models: Callable[[int], tuple[Any, Seq2SeqEngine]], which: int, sources: Sources, data: st.DataObject
) -> None:
    """Each sentence with rules of its own, all in one engine; `transformers` one by one."""
    theirs, engine = models(which)
    rules = [data.draw(decodings()) for _ in sources]
    for source, decoding, found in zip(sources, rules, translate(engine, sources, rules), strict=True):
        tokens, scores = generate(theirs, source, decoding)
        assert [list(h.tokens) for h in found.hypotheses] == tokens, decoding
        if scores:
            assert [h.score for h in found.hypotheses] == pytest.approx(scores, abs=1e-4, rel=1e-4)
        assert found.error is None
        assert found.finished


def test_the_models_do_end(models: Callable[[int], tuple[Any, Seq2SeqEngine]]) -> None:
    """The test above would say little if every sentence went on to its last token."""
    lengths = []
    for which in range(3):
        _, engine = models(which)
        rules = Decoding(max_tokens=14, beams=4, hypotheses=4, forbidden=(130,))
        for found in translate(engine, [(n, 2 * n, 5) for n in range(1, 20)], [rules] * 19):
            lengths += [len(h.tokens) for h in found.hypotheses]
    assert len(set(lengths)) > 5
