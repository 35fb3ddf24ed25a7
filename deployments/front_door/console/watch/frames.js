// One look at the cluster as a small frame: what each variant is and did since the look before. Pure.
//
// A page of metrics has thousands of series; ten minutes of them would not fit. Frames hold what is drawn.

export const GAUGES = {
  "stageline:variant_replicas": "replicas",
  "stageline:variant_open_requests": "open",
  "vllm:num_requests_running": "running",
  "vllm:num_requests_waiting": "waiting",
};
export const COUNTERS = {
  "stageline:variant_decisions_total": "requests",
  "vllm:generation_tokens_total": "tokens",
  "vllm:request_success_total": "answers",
  "vllm:admission_rejections_total": "refused",
};
export const HISTOGRAMS = {
  "vllm:time_to_first_token_seconds_bucket": "first",
  "vllm:e2e_request_latency_seconds_bucket": "whole",
};
const STATE = "stageline:variant_state";
export const COUNTED_EVENTS = [
  "stageline:variant_steps_total",
  "stageline:stream_resumptions_total",
  "stageline:stage_restarts_total",
  "stageline:stalls_total",
];

/** The names of all samples that a frame is made of. */
export const WANTED = new Set([
  ...Object.keys(GAUGES),
  ...Object.keys(COUNTERS),
  ...Object.keys(HISTOGRAMS),
  ...COUNTED_EVENTS,
  STATE,
]);

/** The samples that only grow. */
export function counting(samples) {
  return samples.filter(({ name }) => name in COUNTERS || name in HISTOGRAMS || COUNTED_EVENTS.includes(name));
}

/** `atMs` and `seconds` since the look before; `grown` is what Counters says of the samples. A cell is one variant:
 * {model, variant, state, replicas, open, running, waiting, requests, tokens, answers, refused, first, whole}. */
export function frameOf(atMs, seconds, samples, grown) {
  const cells = new Map();
  const cellOf = ({ model_name: model, engine: variant }) => {
    const key = `${model}:${variant}`;
    if (!cells.has(key)) cells.set(key, emptyCell(model, variant));
    return cells.get(key);
  };
  for (const { name, labels, value } of samples) {
    if (name === STATE && value === 1) cellOf(labels).state = labels.state;
    if (!(name in GAUGES)) continue;
    const [cell, field] = [cellOf(labels), GAUGES[name]];
    // Every front door knows all replicas, but only its own requests.
    cell[field] = field === "replicas" ? Math.max(cell[field], value) : cell[field] + value;
  }
  for (const { name, labels, grown: more } of grown) {
    if (name in COUNTERS) cellOf(labels)[COUNTERS[name]] += more;
    if (name in HISTOGRAMS) {
      const buckets = cellOf(labels)[HISTOGRAMS[name]];
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      buckets.set(bound, (buckets.get(bound) ?? 0) + more);
    }
  }
  for (const cell of cells.values()) {
    // All buckets of what was measured, as an empty one is where the next begins; nothing of what was not.
    for (const field of Object.values(HISTOGRAMS)) if (!cell[field].get(Infinity)) cell[field].clear();
  }
  return { atMs, seconds, cells: [...cells.values()] };
}

function emptyCell(model, variant) {
  const numbers = { replicas: 0, open: 0, running: 0, waiting: 0, requests: 0, tokens: 0, answers: 0, refused: 0 };
  return { model, variant, state: null, ...numbers, first: new Map(), whole: new Map() };
}
