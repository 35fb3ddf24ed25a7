// What happened between two looks at the cluster: faults, recoveries, steps. Pure.

import { plural } from "../page/words.js";

const CAUSES = {
  ttft: "first tokens would come late",
  tpot: "tokens would come slowly",
  latency: "answers would come late",
  recovered: "there is room again",
  unavailable: "the former is gone",
};
const STALLED = { step: "a step", events: "the event loop" };
const LOST = { died: "died", silent: "fell silent" };

/** Events out of counters that grew: [{kind, words}], `kind` being "fault", "recovery", "step" or "scale". */
export function countedEvents(grown) {
  const found = [];
  const refused = new Map();
  for (const { name, labels, grown: times } of grown) {
    if (!times) continue;
    const whose = `${labels.model_name}:${labels.engine}`;
    if (name === "stageline:variant_steps_total") {
      const why = labels.reason ? ` (${CAUSES[labels.reason] ?? labels.reason.replaceAll("_", " ")})` : "";
      found.push(event("step", `${labels.model_name}: requests go from ${labels.from} to ${labels.to}${why}`));
    } else if (name === "stageline:stream_resumptions_total") {
      const how = LOST[labels.cause] ?? labels.cause;
      found.push(event("recovery", `${whose}: ${plural(times, "stream")} went on at another replica; theirs ${how}`));
    } else if (name === "stageline:stage_restarts_total") {
      found.push(event("recovery", `${whose}: stage ${labels.stage} of ${labels.replica} was replaced`));
    } else if (name === "stageline:stalls_total") {
      const where = labels.model_name ? whose : "the front door";
      found.push(event("fault", `${where}: ${STALLED[labels.what] ?? labels.what} hung; the log says where its stacks are`));
    } else if (name === "vllm:admission_rejections_total") {
      const key = `${whose}\n${labels.reason}`;
      refused.set(key, (refused.get(key) ?? 0) + times);
    }
  }
  for (const [key, times] of refused) {
    const [whose, reason] = key.split("\n");
    found.push(event("fault", `${whose}: ${plural(times, "request")} refused or given up (${reason})`));
  }
  return found;
}

/** Events out of what variants were and are; both are frames. */
export function frameEvents(before, now) {
  const known = new Map(before.cells.map((cell) => [`${cell.model}:${cell.variant}`, cell]));
  return now.cells.flatMap((cell) => {
    const name = `${cell.model}:${cell.variant}`;
    const was = known.get(name);
    if (!was) return [];
    const found = [];
    if (was.state !== cell.state && was.state !== null && cell.state !== null) {
      const kind = cell.state === "unavailable" ? "fault" : was.state === "unavailable" ? "recovery" : "scale";
      found.push(event(kind, `${name} is ${cell.state} (was ${was.state})`));
    }
    if (was.replicas !== cell.replicas) {
      found.push(event("scale", `${name} has ${plural(cell.replicas, "replica")} (had ${was.replicas})`));
    }
    return found;
  });
}

/** Events out of the states of stages: both are what `stagesOf` makes of /status. */
export function stageEvents(before, now) {
  return [...now].flatMap(([name, state]) => {
    const was = before.get(name);
    if (was === undefined || was === state) return [];
    return [event(state === "lost" ? "fault" : state === "ready" ? "recovery" : "scale", `${name} is ${state}`)];
  });
}

/** The state of every stage in the body of /status, by a name for it. */
export function stagesOf(status) {
  const found = new Map();
  for (const model of status.models) {
    for (const variant of model.variants) {
      variant.replicas.forEach((replica, place) => {
        for (const stage of replica.stages ?? []) {
          found.set(`${model.name}:${variant.name}, replica ${place + 1}, stage ${stage.index}`, stage.state);
        }
      });
    }
  }
  return found;
}

function event(kind, words) {
  return { kind, words };
}
