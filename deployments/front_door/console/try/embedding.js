// Embeddings: how alike the lines of a text are.

import { element } from "../page/dom.js";
import { plural } from "../page/words.js";
import { wholeInto } from "./streamed.js";

const MOST = 12; // lines: more make no table to look at

export const embedding = {
  id: "embed",
  name: "Embed",
  serves: "embedding",
  label: "Texts, one a line",
  example: "My card has not arrived yet.\nWhere is my card?\nIt rains in Hamburg.",
  help: `To ${MOST} lines; the answer says how alike they are (cosine, 1 is the same).`,

  async run(lane, form, model, signal) {
    lane.begin();
    const lines = form.prompt.split("\n").filter((line) => line.trim()).slice(0, MOST);
    const { data } = await wholeInto(lane, "v1/embeddings", { model, input: lines }, signal);
    const vectors = data.map((one) => one.embedding);
    lane.show(likeness(lines, vectors));
    lane.show(element("p", { class: "help" }, `${plural(vectors.length, "vector")} of ${vectors[0].length} numbers`));
    lane.end("complete");
  },
};

/** The cosine of the angle between two vectors. */
export function cosine(left, right) {
  const dot = (a, b) => a.reduce((sum, value, place) => sum + value * b[place], 0);
  const size = Math.sqrt(dot(left, left) * dot(right, right));
  return size ? dot(left, right) / size : 0;
}

function likeness(lines, vectors) {
  const head = element("tr", {}, element("td", {}), ...lines.map((_, column) => heading("col", `${column + 1}`)));
  const rows = lines.map((line, row) =>
    element(
      "tr",
      {},
      heading("row", `${row + 1}  ${line.length > 40 ? `${line.slice(0, 40)}…` : line}`),
      ...vectors.map((other) => cell(cosine(vectors[row], other))),
    ),
  );
  const table = element("table", { class: "likeness" }, element("thead", {}, head), element("tbody", {}, ...rows));
  return element("div", { class: "wide" }, table);
}

function heading(scope, text) {
  return element("th", { scope }, text);
}

function cell(value) {
  const found = element("td", {}, value.toFixed(2));
  found.style.setProperty("--alike", `${Math.max(0, value) * 45}%`);
  return found;
}
