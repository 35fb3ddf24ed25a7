// The table of replicas, and the pipelines of those that are cut into stages: a line with a station for each stage.

import { drawn, element } from "../page/dom.js";
import { tone } from "../page/tones.js";
import { amount, bytes, percent } from "../page/words.js";

const RADIUS = 22;
const AROUND = 2 * Math.PI * RADIUS;
const SHARES = ["busy", "sending", "waiting"];
const HEADS = ["Variant", "State", "Node", "Process", "Running", "Waiting", "KV cache", "Tokens/s"];

/** [{model, variant, place, replica}] of the body of /status; `model` "" is all of them. */
export function replicasOf(status, model) {
  return status.models
    .filter((one) => !model || one.name === model)
    .flatMap((one) =>
      one.variants.flatMap((variant) =>
        variant.replicas.map((replica, place) => ({ model: one.name, variant: variant.name, place, replica })),
      ),
    );
}

export function replicaTable(found) {
  const lines = found.map(({ model, variant, replica }) => {
    const name = element("th", { scope: "row" }, element("span", { class: `swatch ${tone(variant)}` }));
    name.append(`${model}:${variant}`);
    const cache = replica.kv_cache_usage === undefined ? "–" : percent(replica.kv_cache_usage);
    const rate = replica.tokens_per_s === undefined ? "–" : amount(replica.tokens_per_s);
    const cells = [replica.state, replica.node, replica.pid, replica.running, replica.waiting, cache, rate];
    return element("tr", {}, name, ...cells.map((cell) => element("td", {}, `${cell ?? "–"}`)));
  });
  const head = element("tr", {}, ...HEADS.map((name) => element("th", { scope: "col" }, name)));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...lines));
}

/** A line for each replica that has stages. */
export function stageLines(found) {
  return found
    .filter(({ replica }) => replica.stages?.length)
    .map(({ model, variant, place, replica }) => {
      const lost = replica.bubble === null ? "no work at present" : `${percent(replica.bubble)} of the time lost (bubble)`;
      const title = element("h4", {}, `${model}:${variant}, replica ${place + 1}`);
      title.append(element("span", { class: "help" }, ` ${lost}`));
      const stations = element("ol", { class: `stations ${tone(variant)}` }, ...replica.stages.map(station));
      return element("div", { class: "pipeline" }, title, stations);
    });
}

function station(stage) {
  const words = SHARES.map((share) => `${share} ${percent(stage[share])}`).join(", ");
  const restarts = stage.restarts ? `, replaced ${stage.restarts}×` : "";
  return element(
    "li",
    { class: `station ${stage.state}` },
    ring(stage),
    element("strong", {}, `Stage ${stage.index}`),
    element("span", {}, `layers ${stage.layers}`),
    element("span", {}, words),
    element("span", {}, `${stage.state} at ${stage.node}, ${bytes(stage.memory_bytes)}${restarts}`),
  );
}

/** A ring that is full by what the stage did of the last seconds. */
function ring(stage) {
  const size = 2 * RADIUS + 10;
  const middle = { cx: size / 2, cy: size / 2, r: RADIUS };
  let done = 0;
  const arcs = ["busy", "sending"].map((share) => {
    const dash = `${(stage[share] * AROUND).toFixed(1)} ${AROUND.toFixed(1)}`;
    const arc = drawn("circle", { class: `ring-${share}`, ...middle, "stroke-dasharray": dash });
    arc.setAttribute("stroke-dashoffset", (-done * AROUND).toFixed(1));
    done += stage[share];
    return arc;
  });
  const text = drawn("text", { x: size / 2, y: size / 2 + 4, "text-anchor": "middle" }, percent(stage.busy));
  const picture = drawn("svg", { viewBox: `0 0 ${size} ${size}`, width: size, height: size, "aria-hidden": "true" });
  picture.append(drawn("circle", { class: "ring", ...middle }), ...arcs, text);
  return picture;
}
