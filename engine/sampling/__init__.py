"""From logits to tokens: penalties, grammars, truncation, the draw, log-probabilities."""

from engine.sampling.grammar import GrammarCompiler
from engine.sampling.grammar_check import GrammarLimits
from engine.sampling.grammar_state import CompiledGrammar, GrammarState
from engine.sampling.logprobs import prompt_logprobs
from engine.sampling.pick import Frozen, Pick, freeze
from engine.sampling.row import Row
from engine.sampling.sampler import Sampled, sample

__all__ = [
    "CompiledGrammar",
    "Frozen",
    "GrammarCompiler",
    "GrammarLimits",
    "GrammarState",
    "Pick",
    "Row",
    "Sampled",
    "freeze",
    "prompt_logprobs",
    "sample",
]
