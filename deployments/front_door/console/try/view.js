// The view "Try": runs what the form asks for, in one lane or two beside each other.

import { Failure } from "../page/api.js";
import { byId, setText } from "../page/dom.js";
import { askForKey } from "../page/key.js";
import { classification } from "./classifying.js";
import { embedding } from "./embedding.js";
import { RequestForm } from "./form.js";
import { chat, completion } from "./generating.js";
import { Lane } from "./lane.js";
import { loadLanguages, loadModels, qualityWords } from "./models.js";
import { translation } from "./translating.js";

const LEAST_SPAN_MS = 250; // of the rhythm's scale

export function tryView() {
  let lanes = [];
  let running = null; // an AbortController while something runs
  const form = new RequestForm([chat, completion, classification, translation, embedding], clear);

  function clear() {
    running?.abort();
    lanes = [];
    byId("lanes").replaceChildren(byId("empty") ?? empty);
  }
  const empty = byId("empty");

  function setUp() {
    const before = JSON.stringify(lanes.map((lane) => lane.asked));
    const same = form.task.goesOn && before === JSON.stringify(form.asked);
    if (!same) lanes = form.asked.map((variant) => new Lane(variant, (name) => qualityWords(form.variant(name))));
    byId("lanes").replaceChildren(...lanes.map((lane) => lane.node));
    byId("lanes").classList.toggle("two", lanes.length === 2);
  }

  async function run() {
    if (running) return;
    setText(byId("form-problem"), problem(form) ?? "");
    byId("form-problem").hidden = problem(form) === null;
    if (problem(form) !== null) return;
    setUp();
    running = new AbortController();
    setRunning(true);
    const drawing = setInterval(draw, 100);
    const { signal } = running;
    const { task, values } = form;
    await Promise.all(lanes.map((lane) => runIn(lane, task, values, form.modelName(lane.asked), signal)));
    clearInterval(drawing);
    draw();
    running = null;
    setRunning(false);
  }

  function draw() {
    const spanMs = Math.max(LEAST_SPAN_MS, ...lanes.map((lane) => lane.spanMs));
    for (const lane of lanes) lane.draw(spanMs);
  }

  function stop() {
    running?.abort();
  }

  byId("try-form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("try-form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  });
  byId("view-try").addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
  });
  byId("stop").addEventListener("click", stop);
  byId("clear").addEventListener("click", () => {
    clear();
    byId("prompt").focus();
  });
  window.addEventListener("resize", draw);

  /** Asks the server anew which models there are. Raises Failure. */
  return async function refresh() {
    const [models, languages] = await Promise.all([loadModels(), loadLanguages()]);
    form.offer(models, languages);
  };
}

async function runIn(lane, task, values, model, signal) {
  try {
    await task.run(lane, values, model, signal);
  } catch (error) {
    if (signal.aborted) {
      lane.end("stopped");
      return;
    }
    if (!(error instanceof Failure)) console.error(error);
    const words = error instanceof Failure ? error.message : `This page failed: ${error.message}`;
    lane.identify(error.variant, error.requestId);
    lane.fail(words);
    if (error.status === 401) askForKey(words);
  }
}

/** What keeps the form from being sent, in words; null where nothing does. */
function problem(form) {
  if (!form.models.length) return "No model answers yet: they are still being loaded, or a key is needed.";
  if (!form.values.prompt.trim()) return `"${form.task.label}" is empty.`;
  return null;
}

function setRunning(is) {
  // Not `disabled`, which takes the focus away from whoever pressed the button by key.
  byId("run").setAttribute("aria-disabled", String(is));
  byId("stop").setAttribute("aria-disabled", String(!is));
  byId("try-form").setAttribute("aria-busy", String(is));
}
