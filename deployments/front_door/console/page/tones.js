// The colour of a variant: the more precise the cooler, the faster the warmer, so that load is seen as warmth.
// The colours themselves are in theme.css, as classes.

const TONES = ["fp32", "bf16", "int8-dynamic", "int8-static", "int8-weight", "int4-weight", "fp8"];

/** The class of a variant's colour. */
export function tone(variant) {
  return TONES.includes(variant) ? `tone-${variant}` : "tone-other";
}

/** Variants in the order of their precision, others last. */
export function byPrecision(left, right) {
  const place = (name) => (TONES.includes(name) ? TONES.indexOf(name) : TONES.length);
  return place(left) - place(right) || left.localeCompare(right);
}
