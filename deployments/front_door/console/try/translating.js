// Translation between the languages that the models have.

import { element } from "../page/dom.js";
import { wholeInto } from "./streamed.js";

export const translation = {
  id: "translate",
  name: "Translate",
  serves: "translation",
  label: "Text to translate",
  example: "A man plays the guitar. Two dogs listen.",
  help: "",

  async run(lane, form, model, signal) {
    lane.begin();
    const body = { model, q: form.prompt, source: form.source, target: form.target };
    const { translatedText } = await wholeInto(lane, "translate", body, signal);
    lane.show(element("p", { class: "wrote", lang: form.target }, translatedText));
    lane.end("complete");
  },
};
