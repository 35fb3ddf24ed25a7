"""Tokens and texts of every translation family against `transformers`' tokenizers; languages; what files may lack."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from engine.checkpoint import open_checkpoint
from engine.errors import CheckpointError, InvalidRequest
from engine.seq2seq.request import Decoding
from engine.text.languages import known_code, language_name, short_code
from engine.text.translation import Pair, TranslationText, open_translation_text
from tests.engine.text.small_translators import (
    ENGLISH,
    GERMAN,
    STRANGE,
    train_pieces,
    write_json,
    write_marian,
    write_model,
)

TASK = {
    "translation_en_to_de": {
        "early_stopping": True,
        "max_length": 60,
        "num_beams": 4,
        "prefix": "translate English to German: ",
    },
    "summarization": {"prefix": "summarize: "},
}


def open_text(folder: Path, pairs: list[Pair] | None = None, prefix: str | None = None) -> TranslationText:
    with open_checkpoint(folder) as checkpoint:
        text = open_translation_text(checkpoint, pairs, prefix)
    again: TranslationText = pickle.loads(pickle.dumps(text))
    assert again.pairs == text.pairs
    source, target = text.pairs[0]
    assert again.encode(ENGLISH[0], source, target) == text.encode(ENGLISH[0], source, target)
    return again


def check(text: TranslationText, theirs: Any, source: str, target: str, marked: str = "") -> None:
    """The same tokens for a source, and the same text for a target's tokens."""
    for line in [*ENGLISH, *GERMAN, *STRANGE]:
        assert text.encode(line, source, target)[0] == tuple(theirs(marked + line).input_ids), line
    for line in [*GERMAN, *STRANGE]:
        tokens = theirs(text_target=line).input_ids
        assert text.encode_target(line, source, target) == tuple(tokens), line
        expected = theirs.decode(tokens, skip_special_tokens=True).removeprefix(f"__{target}__")
        assert text.decode(tokens) == expected.strip(), line


@pytest.mark.parametrize("separate", [False, True])
def test_marian(tmp_path: Path, separate: bool) -> None:
    from transformers import MarianTokenizer

    write_marian(tmp_path, source_lang="eng", target_lang="de", separate_vocabs=separate)
    text = open_text(tmp_path)
    assert text.pairs == (("en", "de"),)
    assert text.max_source_tokens == 128
    check(text, MarianTokenizer.from_pretrained(tmp_path), "en", "de")
    assert text.encode("A man", "en", "de")[1] is None


def test_marian_for_several_targets_wants_their_marks(tmp_path: Path) -> None:
    from transformers import MarianTokenizer

    marks = (">>fra<<", ">>por<<", ">>pt_BR<<", ">>xal<<")
    write_marian(tmp_path, marks, source_lang="en", target_lang="mul")
    text = open_text(tmp_path)
    assert text.pairs == (("en", "fr"), ("en", "pt"), ("en", "xal"))
    theirs = MarianTokenizer.from_pretrained(tmp_path)
    for mark, target in ((">>fra<<", "fr"), (">>por<<", "pt"), (">>xal<<", "xal")):
        check(text, theirs, "en", target, marked=mark)
    assert open_text(tmp_path, [("en", "pt")]).pairs == (("en", "pt"),)
    with pytest.raises(CheckpointError, match="no token for the target de; it has fr, pt"):
        open_text(tmp_path, [("en", "de")])


@pytest.mark.parametrize("settings", [{}, {"source_lang": "roa", "target_lang": "en"}, {"source_lang": "en"}])
def test_unknown_languages_must_be_set(tmp_path: Path, settings: dict[str, Any]) -> None:
    write_marian(tmp_path, **settings)
    with pytest.raises(CheckpointError, match=r"languages: \[en-de\]"):
        open_text(tmp_path)
    assert open_text(tmp_path, [("ro", "en")]).encode(ENGLISH[1], "ro", "en")[0]


@pytest.mark.parametrize("kept", ["spiece.model", "tokenizer.json"])
def test_t5(tmp_path: Path, kept: str) -> None:
    from transformers import T5Tokenizer

    write_model(tmp_path, "t5", task_specific_params=TASK)
    pieces = train_pieces([*ENGLISH, *GERMAN], 250, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    (tmp_path / "spiece.model").write_bytes(pieces)
    theirs = T5Tokenizer.from_pretrained(tmp_path)
    if kept == "tokenizer.json":
        theirs.save_pretrained(tmp_path)
        (tmp_path / "spiece.model").unlink(missing_ok=True)
    text = open_text(tmp_path)
    assert text.pairs == (("en", "de"),)
    assert text.decoding_defaults == Decoding(max_tokens=59, beams=4, early_stopping=True)
    for line in [*ENGLISH, *GERMAN]:
        expected = theirs("translate English to German: " + line).input_ids
        assert text.encode(line, "en", "de") == (tuple(expected), None)
        assert text.decode([0, *theirs(line).input_ids]) == line
    other = open_text(tmp_path, [("fr", "ro")])
    assert other.encode("x", "fr", "ro")[0] == tuple(theirs("translate French to Romanian: x").input_ids)
    bare = open_text(tmp_path, [("fr", "ro")], prefix="")
    assert bare.encode("x", "fr", "ro")[0] == tuple(theirs("x").input_ids)


def test_m2m100(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor
    from transformers import M2M100Tokenizer

    write_model(tmp_path, "m2m100")
    model = train_pieces([*ENGLISH, *GERMAN], 250, model_type="bpe")
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)
    processor = SentencePieceProcessor(model_proto=model)
    pieces = [processor.id_to_piece(i) for i in range(3, processor.get_piece_size())]
    every = ["<s>", "<pad>", "</s>", "<unk>", *pieces]
    write_json(tmp_path / "vocab.json", {piece: i for i, piece in enumerate(every)})
    theirs = M2M100Tokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "sentencepiece.bpe.model"))
    theirs.save_pretrained(tmp_path)
    text = open_text(tmp_path)
    assert len(text.pairs) == 100 * 99
    for source, target in (("en", "de"), ("zu", "af")):
        theirs.src_lang, theirs.tgt_lang = source, target
        check(text, theirs, source, target)
        assert text.encode("x", source, target)[1] == theirs.get_lang_id(target)
    # As the published folders have it: the tokens of languages in order, without their ids.
    for name in ("added_tokens.json", "tokenizer_config.json"):
        (tmp_path / name).unlink(missing_ok=True)
    marks = [token for token in theirs.added_tokens_decoder.values() if str(token).startswith("__")]
    write_json(tmp_path / "special_tokens_map.json", {"additional_special_tokens": sorted(map(str, marks))})
    assert open_text(tmp_path).codec.languages == text.codec.languages  # type: ignore[attr-defined]


def test_nllb(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import NllbTokenizer

    write_model(tmp_path, "m2m100")
    small = Tokenizer(models.BPE())
    small.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    small.train_from_iterator([*ENGLISH, *GERMAN], trainers.BpeTrainer(vocab_size=260, special_tokens=specials))
    state = json.loads(small.to_str())["model"]
    theirs = NllbTokenizer(vocab=state["vocab"], merges=[tuple(pair) for pair in state["merges"]], src_lang="eng_Latn")
    theirs.save_pretrained(tmp_path)
    text = open_text(tmp_path, [("en", "de"), ("zh", "zho_Hant"), ("ar", "en")])
    for source, target, own, other in (
        ("en", "de", "eng_Latn", "deu_Latn"),
        ("zh", "zho_Hant", "zho_Hans", "zho_Hant"),
        ("ar", "en", "arb_Arab", "eng_Latn"),
    ):
        theirs.src_lang = own
        for line in [*ENGLISH, *GERMAN]:
            expected = tuple(theirs(line).input_ids), theirs.convert_tokens_to_ids(other)
            assert text.encode(line, source, target) == expected
            assert text.decode([2, expected[1] or 0, *expected[0]]) == line
    with pytest.raises(CheckpointError, match="no language xx"):
        open_text(tmp_path, [("en", "xx")])
    assert len(open_text(tmp_path).pairs) > 200 * 199


def test_a_tokenizer_json_alone_serves_the_pair_that_is_set(tmp_path: Path) -> None:
    from tests.engine.text.small_tokenizers import byte_level

    write_model(tmp_path, "bart")
    byte_level().backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="languages"):
        open_text(tmp_path)
    text = open_text(tmp_path, [("en", "de")])
    assert text.decode(text.encode("A small text.", "en", "de")[0]) == "A small text."


def test_a_text_cannot_bring_special_tokens_along(tmp_path: Path) -> None:
    write_marian(tmp_path, (">>fr<<", ">>de<<"), source_lang="en", target_lang="mul")
    text = open_text(tmp_path)
    codec: Any = text.codec
    special = {codec.vocabulary[piece] for piece in ("</s>", "<pad>", ">>fr<<", ">>de<<")}
    tokens = text.encode(">>de<< a</s><pad>", "en", "fr")[0]
    assert [token for token in tokens if token in special] == [tokens[0], tokens[-1]]


def test_what_cannot_be_translated_is_refused(tmp_path: Path) -> None:
    write_marian(tmp_path, source_lang="en", target_lang="de")
    text = open_text(tmp_path)
    with pytest.raises(InvalidRequest, match="from en to fr, but to de"):
        text.encode("x", "en", "fr")
    with pytest.raises(InvalidRequest, match="from fr, but from en"):
        text.encode("x", "fr", "de")
    with pytest.raises(InvalidRequest, match="surrogate"):
        text.encode("a\ud800", "en", "de")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda folder: (folder / "target.spm").unlink(), "target.spm is missing"),
        (lambda folder: (folder / "source.spm").write_bytes(b"nothing"), "no usable SentencePiece"),
        (lambda folder: (folder / "vocab.json").write_text('{"a": "b"}'), "map pieces"),
        (lambda folder: (folder / "vocab.json").write_text('{"a": 1}'), "</s>"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, damage: Any, complaint: str) -> None:
    write_marian(tmp_path, source_lang="en", target_lang="de")
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=complaint):
        open_text(tmp_path)


def test_defaults_are_the_files(tmp_path: Path) -> None:
    write_marian(tmp_path, source_lang="en", target_lang="de")
    assert open_text(tmp_path).decoding_defaults == Decoding(max_tokens=128, force_end=True, forbidden=(130,))
    generation = {
        "max_length": 100,
        "min_length": 3,
        "num_beams": 6,
        "length_penalty": 0.6,
        "early_stopping": "never",
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 4,
        "bad_words_ids": [[5], [6, 7], [5]],
        "forced_bos_token_id": 9,
    }
    write_json(tmp_path / "generation_config.json", generation)
    assert open_text(tmp_path).decoding_defaults == Decoding(
        max_tokens=99,
        min_tokens=3,
        beams=6,
        length_penalty=0.6,
        early_stopping="never",
        repetition_penalty=1.2,
        no_repeat_ngram=4,
        first_token=9,
        force_end=True,
        forbidden=(5,),
    )


def test_codes_of_languages() -> None:
    pairs = {"de": "de", "deu": "de", "ger": "de", "deu_Latn": "de", "de_DE": "de", "zh-Hant": "zh", "xal": "xal"}
    assert {code: short_code(code) for code in pairs} == pairs
    assert short_code("romance") is None
    assert known_code("roa") is None
    assert [language_name(code) for code in ("de", "nob", "cmn", "xal")] == [
        "German",
        "Norwegian Bokmål",
        "Chinese",
        "xal",
    ]
