// Prometheus' text format, as far as the page reads it.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = { n: "\n", '"': '"', "\\": "\\" };

/** The samples whose name is in `wanted` (a Set; all, where it is left out): [{name, labels, value}]. */
export function parseMetrics(text, wanted) {
  const found = [];
  for (const line of text.split("\n")) {
    if (line === "" || line[0] === "#") continue;
    const name = line.slice(0, line.search(/[{\s]/));
    if (wanted && !wanted.has(name)) continue;
    const match = LINE.exec(line);
    if (match) found.push({ name, labels: labelsOf(match[2] ?? ""), value: numberOf(match[3]) });
  }
  return found;
}

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/g, (whole, one) => ESCAPED[one] ?? whole);
  }
  return labels;
}

function numberOf(text) {
  if (text === "+Inf") return Infinity;
  return text === "-Inf" ? -Infinity : Number(text);
}
