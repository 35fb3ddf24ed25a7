"""From logits to tokens: penalties, grammars, truncation, the draw, log-probabilities."""

from engine.sampling.grammar import GrammarCompiler
from engine.sampling.grammar_check import GrammarLimits
from engine.sampling.grammar_state import CompiledGrammar, GrammarState
from engine.sampling.logprobs import prompt_logprobs
from engine.sampling.row import Row
from engine.sampling.sampler import Sampled, sample

__all__ = [
    "CompiledGrammar",
    "GrammarCompiler",
    "GrammarLimits",
    "GrammarState",
    "Row",
    "Sampled",
    "prompt_logprobs",
    "sample",
]
