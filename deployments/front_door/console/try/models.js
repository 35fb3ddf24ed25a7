// What can be asked: models by task, their variants, and the pairs of languages.

import { askJson } from "../page/api.js";

/** [{name, task, variants: [{name, state, quality, speedup}]}], in the server's order. */
export async function loadModels() {
  return modelsOf(await askJson("v1/models", { timeoutS: 10 }));
}

/** The same out of the body of /v1/models. */
export function modelsOf(body) {
  return body.data
    .filter((card) => card.parent === null)
    .map((card) => ({ name: card.id, task: card.task, variants: card.variants }));
}

/** [{code, name, targets}] */
export function loadLanguages() {
  return askJson("languages", { timeoutS: 10 });
}

/** What a choice of variants says of one: its state too, where it does not answer at once. */
export function describeVariant({ name, state }) {
  return state === "ready" ? name : `${name} (${state})`;
}

/** What is known of how good a variant's answers are; "" where nobody measured it. */
export function qualityWords(variant) {
  if (!variant?.measured || variant.quality === null) return "";
  return `keeps ${(variant.quality * 100).toFixed(1)}% of the quality`;
}
