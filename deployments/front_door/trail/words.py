"""Why a request got its variant, and what slowed it, in plain English. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployments.front_door.trail.phases import Phase, last_call, phases
from deployments.front_door.trail.record import Call, Record
from deployments.routing.choice import BALANCED, Decision
from deployments.routing.explain import Weighed
from deployments.routing.prediction import Objective, Prediction
from deployments.routing.situation import Situation

WORTH_TELLING = 0.1  # of a request's time: what takes less did not slow it
CAUSES = {
    "died": "died",
    "silent": "was not heard of any more",
    "refused": "did not take it: its engine had ended",
    "full": "had no room",
}


def seconds(value: float) -> str:
    """As people say it: "1.8 s", "45 ms", "0.3 ms"."""
    if value >= 10:
        return f"{value:.0f} s"
    if value >= 1:
        return f"{value:.1f} s"
    return f"{1000 * value:.0f} ms" if value >= 0.01 else f"{1000 * value:.1f} ms"


def reason(situation: Situation, decision: Decision | None, weighed: Sequence[Weighed]) -> str:
    """Why this variant."""
    if decision is None:
        return "No variant was chosen: all that it may use were full, or its caller had used up his share."
    chosen = next((one for one in weighed if one.verdict == "chosen"), None)
    share = "" if chosen is None or chosen.share is None else f" ({chosen.share:.0%} of it)"
    within = chosen is not None and chosen.share is not None and chosen.share <= 1.0
    if chosen is not None and chosen.predicted == Prediction(0.0):
        share = "; nothing was measured of it yet, so nothing spoke against it"
    better = [one.name for one in weighed[: weighed.index(chosen)]] if chosen is not None else []
    match decision.reason:
        case "pinned":
            text = "The request named this variant."
        case "objective" | "least_bad" if chosen is not None and chosen.beyond:
            added = "" if chosen.share is None else f" ({chosen.share:.0%} of what is promised)"
            which = (
                "the best that the load adds little to" if decision.reason == "objective" else "what it adds least to"
            )
            text = f"None keeps what is promised even without load; this one is {which}{added}."
        case "objective" if situation.policy == "balanced":
            text = f"The best variant predicted to need at most {BALANCED:.0%} of what is promised{share}."
        case "objective":
            text = f"The best variant predicted to keep what is promised{share}."
        case "least_bad" if within:
            text = f"Each was predicted to use more of what is promised than it may at present; this one least{share}."
        case "least_bad":
            text = f"None was predicted to keep what is promised; this one came closest{share}."
        case "fast":
            text = "The request asked for the fastest (variant_policy), and this one was predicted to be."
        case "stale" if any(one.share is not None for one in weighed):
            text = (
                "The load of some variants was not known, and the others were too slow; this one had the fewest open "
                "requests for its places."
            )
        case "stale":
            text = "The load of these variants was not known; this one had the fewest open requests for its places."
        case "waking":
            text = "No variant was ready; this one is being started."
    if better and decision.reason in ("objective", "least_bad"):
        text += f" Passed over, though better: {', '.join(better)}."
    if decision.wake is not None and decision.wake != decision.variant:
        text += f" {decision.wake} was asleep and is being started beside it."
    return text


def thought(one: Weighed, situation: Situation) -> str:
    """What was thought of a variant."""
    objective = situation.objective
    match one.verdict:
        case "chosen":
            return "chosen"
        case "other_pinned":
            return f"the request named {situation.pinned}"
        case "quality":
            kept = "is not known" if one.retained is None else f"is {one.retained:.4g}"
            return f"its share of the quality {kept}, and {situation.min_quality or 0:.4g} was asked for"
        case "key":
            return "the caller's key is not for it"
        case "asleep":
            return "asleep: it had no replica"
        case "starting":
            return "its replicas were starting"
        case "unavailable":
            return "none of its replicas was heard of"
        case "full":
            return f"full: {one.open} requests for {one.places} places"
        case "unknown":
            return "its load was not known: it had told nothing for too long"
        case "slower":
            return "slower than the chosen one"
        case "spare":
            return f"would have {'missed it, too' if one.beyond else 'done'}; the chosen one is better"
        case "gives_way":
            return "it passed requests on a short time ago, and leaves the cores to a quicker one on the same"
        case "worse":
            return f"would have missed it by more: {_against(one.predicted, objective)}"
        case "eased" if situation.policy == "balanced":
            return f"would have used {one.share or 0:.0%} of what is promised, and may use {one.most or 0:.0%}"
        case "eased":
            return (
                f"would have used {one.share or 0:.0%} of what is promised, and may use {one.most or 0:.0%} for a "
                "while, as it had to pass requests on a short time ago"
            )
        case "over":
            return f"too slow: {_against(one.predicted, objective)}"


def _against(one: Prediction | None, objective: Objective) -> str:
    if one is None:
        return "nothing was known"
    whole = objective.token_s is None
    said = [f"{'answer' if whole else 'first token'} in {seconds(one.first_s)} (promised {seconds(objective.first_s)})"]
    if objective.token_s is not None:
        said.append(f"then {seconds(one.token_s)} a token (promised {seconds(objective.token_s)})")
    return ", ".join(said)


def slowed(record: Record, weighed: Sequence[Weighed]) -> list[str]:
    """What took most of the time, the longest first."""
    whole = record.took_s
    chosen = next((one for one in weighed if one.verdict == "chosen"), None)
    long = [one for one in phases(record) if one.seconds >= WORTH_TELLING * whole]
    told = [_slow_phase(one, record, chosen) for one in sorted(long, key=lambda one: -one.seconds)]
    call = last_call(record)
    told += [] if call is None else list(_losses(call))
    if record.sending_s >= WORTH_TELLING * whole:
        told.append(f"{seconds(record.sending_s)} of this the caller took to read what was sent.")
    return told


def _slow_phase(phase: Phase, record: Record, chosen: Weighed | None) -> str:
    took = seconds(phase.seconds)
    match phase.name:
        case "read":
            return f"{took} until its body had come and was checked."
        case "prepare":
            return f"{took} to cut its text into tokens."
        case "choose":
            return f"{took} to choose the variant."
        case "others":
            return f"Waited {took} for other texts of the same request, which went before."
        case "find":
            return f"Waited {took} for a replica to be there: none was ready."
        case "lost":
            return f"Lost {took} with replicas that could not finish it."
        case "wait":
            return f"Waited {took} for the replica's first word, for a place or while it computed{_crowd(chosen)}."
        case "queue":
            return f"Waited {took} for a place in the engine{_crowd(chosen)}."
        case "prefill":
            return f"Its prompt of {record.prompt_tokens} tokens took {took} to compute{_cached(record)}."
        case "run":
            return f"Computing took {took}{_together(record)}."
        case "decode":
            return f"Writing took {took}{_per_token(record)}."
        case "transit":
            return f"{took} passed between the front door and the replica."
    return f"{took} to write and send the answer."


def _crowd(chosen: Weighed | None) -> str:
    if chosen is None or chosen.begun is None or chosen.open is None:
        return ""
    return f": {chosen.begun} of {chosen.slots} places ran and {max(0, chosen.open - chosen.begun)} waited when it came"


def _cached(record: Record) -> str:
    call = last_call(record)
    cached = 0 if call is None else max(visit.cached_tokens for visit in call.visits)
    return f" ({cached} of them were in the cache)" if cached else ""


def _together(record: Record) -> str:
    call = last_call(record)
    return f", {call.texts} texts together" if call is not None and call.texts > 1 else ""


def _per_token(record: Record) -> str:
    if record.token_s is None:
        return ""
    promised = None if record.situation is None else record.situation.objective.token_s
    against = "" if promised is None else f" (promised {seconds(promised)})"
    return f": {record.output_tokens} tokens at {seconds(record.token_s)} each{against}"


def _losses(call: Call) -> Iterator[str]:
    for visit in call.visits:
        if visit.cause and visit.replica:
            who = f"Replica {visit.replica}"
            after = f" after {visit.tokens} tokens" if visit.tokens else ""
            yield f"{who} {CAUSES.get(visit.cause, visit.cause)}{after}."
