// Classification: the likeliest labels as bars.

import { element } from "../page/dom.js";
import { percent, plural } from "../page/words.js";
import { wholeInto } from "./streamed.js";

const SHOWN = 8;

export const classification = {
  id: "classify",
  name: "Classify",
  serves: "text-classification",
  label: "Text to classify",
  example: "My card has not arrived yet.",
  help: "",

  async run(lane, form, model, signal) {
    lane.begin();
    // Of the two endpoints this is the one that names all labels.
    const scores = await wholeInto(lane, "predict", { model, inputs: form.prompt, truncate: true }, signal);
    lane.show(bars(scores.slice(0, SHOWN)));
    const left = scores.length - SHOWN;
    if (left > 0) lane.show(element("p", { class: "help" }, `${plural(left, "label")} more, none of them likelier`));
    lane.end("complete");
  },
};

/** A list of labels with their probability as a bar and in figures. */
function bars(scores) {
  const rows = scores.map(({ label, score }, place) => {
    const bar = element("span", { class: "bar", "aria-hidden": "true" }, element("span", {}));
    bar.firstChild.style.width = `${Math.max(0, Math.min(1, score)) * 100}%`;
    return element(
      "li",
      place === 0 ? { class: "first" } : {},
      element("span", { class: "label" }, label.replaceAll("_", " ")),
      bar,
      element("span", { class: "value" }, percent(score)),
    );
  });
  return element("ol", { class: "bars", "aria-label": "Likeliest labels" }, ...rows);
}
