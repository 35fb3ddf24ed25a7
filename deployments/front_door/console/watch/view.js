// The view "Watch": asks about each second and draws what there is.

import { byId, element, setOptions, setText } from "../page/dom.js";
import { noticeKey } from "../page/key.js";
import { plural, timeOfDay } from "../page/words.js";
import { makeCharts } from "./charts.js";
import { polling } from "./poll.js";
import { replicasOf, replicaTable, stageLines } from "./replicas.js";
import { makeTiles } from "./tiles.js";
import { Watcher } from "./watcher.js";

const NAMES = { fault: "Fault", recovery: "Recovery", step: "Step", scale: "Change" };
const NO_RIGHT = new Set([401, 403]);

/** `seen` is called with a text that changes whenever models or states of variants do. */
export function watchView(seen) {
  const watcher = new Watcher();
  const draw = makeCharts(byId("charts"));
  const fill = makeTiles(byId("tiles"));
  let paused = false;

  async function look() {
    try {
      await watcher.look();
      showProblem("");
      seen(statesOf(watcher.status));
    } catch (error) {
      showProblem(error.message);
      if (error.status === 401) noticeKey(error.message);
      if (NO_RIGHT.has(error.status)) return false; // until there is another key
    } finally {
      show();
    }
    return true;
  }

  function show() {
    showHealth(watcher);
    showEvents(watcher.events);
    if (byId("view-watch").hidden || !watcher.history.last) return;
    const model = byId("watched").value;
    setOptions(byId("watched"), [["", "All"], ...watcher.status.models.map(({ name }) => [name, name])]);
    fill(watcher.history, model);
    draw(watcher.history, model, Number(byId("window").value) * 1000);
    showReplicas(replicasOf(watcher.status, model));
  }

  const polls = polling(look);
  byId("pause").addEventListener("click", () => {
    paused = !paused;
    byId("pause").setAttribute("aria-pressed", String(paused));
    setText(byId("pause"), paused ? "Go on" : "Pause");
    polls.pause(paused);
  });
  for (const id of ["watched", "window"]) byId(id).addEventListener("change", show);
  window.addEventListener("resize", show);
  return { show, resume: polls.resume };
}

/** Models and the states of their variants, in a line: when it changes there is something new to choose from. */
function statesOf({ models }) {
  return models.map(({ name, variants }) => `${name} ${variants.map((one) => `${one.name} ${one.state}`)}`).join();
}

function showReplicas(found) {
  byId("replicas").replaceChildren(
    found.length ? replicaTable(found) : element("p", { class: "help" }, "No replica answers."),
  );
  const lines = stageLines(found);
  byId("stages").hidden = !lines.length;
  byId("stage-lines").replaceChildren(...lines);
}

function showHealth(watcher) {
  const { status } = watcher;
  const health = byId("health");
  if (status === null || !byId("watch-problem").hidden) {
    health.className = status === null ? "health" : "health bad";
    setText(health, status === null ? "" : "No answer");
    return;
  }
  const up = status.models.filter(({ variants }) => variants.some(({ state }) => state === "ready"));
  const all = status.models.length;
  health.className = up.length === all ? "health good" : "health bad";
  setText(health, up.length === all ? `${plural(all, "model")} ready` : `${up.length} of ${all} models ready`);
}

function showEvents(events) {
  const list = byId("events");
  const newest = events[0] ? `${events[0].atMs} ${events.length}` : "";
  if (list.dataset.newest === newest) return;
  list.dataset.newest = newest;
  const items = events.map(({ atMs, kind, words }) =>
    element(
      "li",
      { class: `event ${kind}` },
      element("time", { datetime: new Date(atMs).toISOString() }, timeOfDay(atMs)),
      element("span", { class: "kind" }, NAMES[kind]),
      element("span", { class: "what" }, words),
    ),
  );
  list.replaceChildren(...(items.length ? items : [element("li", { class: "help" }, "Nothing happened so far.")]));
}

function showProblem(words) {
  const node = byId("watch-problem");
  setText(node, words);
  node.hidden = words === "";
}
