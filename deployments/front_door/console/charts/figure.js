// A chart on the page: its title, what its colours mean, the picture, and the same as words and as a table.

import { drawn, element, setText } from "../page/dom.js";

export class Figure {
  /** `height` in pixels. */
  constructor(title, help, height) {
    this.height = height;
    this.svg = drawn("svg", { class: "plot", role: "img", focusable: "false" });
    this.legend = element("ul", { class: "legend" });
    this.table = element("table", {});
    this.details = element(
      "details",
      { class: "as-table" },
      element("summary", {}, "As a table"),
      element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `${title}, as a table` }, this.table),
    );
    Object.assign(this, { title, helpText: help, help: element("p", { class: "help" }, help) });
    this.node = element(
      "figure",
      { class: "card chart" },
      element("figcaption", {}, element("h3", {}, title), this.help),
      this.legend,
      this.svg,
      this.details,
    );
    this.details.addEventListener("toggle", () => this.#fillTable());
  }

  get width() {
    return Math.max(120, Math.round(this.svg.clientWidth || 400));
  }

  /** `legend` is [{tone, name, value}], `children` the SVG's, `summary` says in words what it shows, and `rows`
   * gives the table's lines, the heads first; it is called where the table is open only. */
  show({ legend, children, summary, rows, height = this.height }) {
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.svg.setAttribute("height", height);
    this.svg.setAttribute("aria-label", `${this.title}. ${summary}`);
    this.svg.replaceChildren(...children);
    this.#showLegend(legend);
    this.rows = rows;
    this.#fillTable();
  }

  #showLegend(legend) {
    const shape = JSON.stringify(legend.map(({ tone, name }) => [tone, name]));
    if (shape !== this.shape) {
      this.shape = shape;
      this.legend.replaceChildren(
        ...legend.map(({ tone, name }) =>
          element(
            "li",
            {},
            element("span", { class: `swatch ${tone}`, "aria-hidden": "true" }),
            element("span", { class: "legend-name" }, name),
            element("span", { class: "legend-value" }),
          ),
        ),
      );
    }
    legend.forEach(({ value }, place) => setText(this.legend.children[place].lastChild, value));
  }

  #fillTable() {
    if (!this.details.open || !this.rows) return;
    const [head, ...lines] = this.rows();
    this.table.replaceChildren(
      element("thead", {}, element("tr", {}, ...head.map((cell) => element("th", { scope: "col" }, cell)))),
      element("tbody", {}, ...lines.map((line) => element("tr", {}, ...line.map((cell) => element("td", {}, cell))))),
    );
  }
}
