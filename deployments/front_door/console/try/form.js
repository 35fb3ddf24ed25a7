// The request's form: which fields a task has, and what they hold.

import { byId, element, setOptions, setText } from "../page/dom.js";
import { describeVariant } from "./models.js";

const NO_SECOND = "-"; // of the select "beside it"

export class RequestForm {
  models = [];
  languages = [];
  #drafts = new Map(); // what was typed, by task

  /** `changed` is called when another task, model or variant is chosen: its answers are others'. */
  constructor(tasks, changed) {
    this.tasks = tasks;
    this.task = tasks[0];
    this.#makeTasks(changed);
    byId("model").addEventListener("change", () => {
      this.#fillVariants();
      changed();
    });
    for (const id of ["variant", "beside"]) byId(id).addEventListener("change", changed);
    byId("source").addEventListener("change", () => this.#fillTargets());
    this.#showTask();
  }

  /** Takes what the server has by now. What is chosen stays chosen where it can. */
  offer(models, languages) {
    Object.assign(this, { models, languages });
    for (const task of this.tasks) byId(`task-${task.id}`).disabled = !this.#models(task).length;
    if (!this.#models(this.task).length) {
      const other = this.tasks.find((task) => this.#models(task).length);
      if (other) byId(`task-${other.id}`).click();
    }
    setOptions(byId("source"), languages.map(({ code, name }) => [code, name]));
    this.#fillTargets();
    this.#fillModels();
  }

  /** What is asked for now. */
  get values() {
    const value = (id) => byId(id).value;
    return {
      prompt: value("prompt"),
      system: value("system"),
      maxTokens: value("max-tokens"),
      temperature: value("temperature"),
      source: value("source"),
      target: value("target"),
    };
  }

  /** The variants to ask, one or two; "" is any. */
  get asked() {
    const second = byId("beside").value;
    return second === NO_SECOND ? [byId("variant").value] : [byId("variant").value, second];
  }

  /** What is known of a variant of the model that is asked; undefined where there is none of that name. */
  variant(name) {
    const model = this.models.find((one) => one.name === byId("model").value);
    return model?.variants.find((one) => one.name === name);
  }

  /** The name to ask the API for. */
  modelName(variant) {
    const model = byId("model").value;
    return variant ? `${model}:${variant}` : model;
  }

  #models(task) {
    return this.models.filter((model) => model.task === task.serves);
  }

  #makeTasks(changed) {
    for (const task of this.tasks) {
      const input = element("input", { type: "radio", name: "task", id: `task-${task.id}`, value: task.id });
      input.checked = task === this.task;
      input.addEventListener("change", () => {
        this.#drafts.set(this.task.id, byId("prompt").value);
        this.task = task;
        this.#showTask();
        this.#fillModels();
        changed();
      });
      byId("tasks").append(input, element("label", { for: input.id }, task.name));
    }
  }

  #showTask() {
    setText(byId("prompt-label"), this.task.label);
    setText(byId("prompt-help"), this.task.help);
    byId("prompt").value = this.#drafts.get(this.task.id) ?? this.task.example;
    for (const node of document.querySelectorAll("[data-for]")) {
      node.hidden = !node.dataset.for.split(" ").includes(this.task.id);
    }
  }

  #fillModels() {
    setOptions(byId("model"), this.#models(this.task).map(({ name }) => [name, name]));
    this.#fillVariants();
  }

  #fillVariants() {
    const model = this.models.find(({ name }) => name === byId("model").value);
    const variants = (model?.variants ?? []).map((variant) => [variant.name, describeVariant(variant)]);
    setOptions(byId("variant"), [["", "Any"], ...variants]);
    setOptions(byId("beside"), [[NO_SECOND, "None"], ["", "Any"], ...variants]);
  }

  #fillTargets() {
    const source = this.languages.find(({ code }) => code === byId("source").value);
    const names = new Map(this.languages.map(({ code, name }) => [code, name]));
    const shown = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });
    setOptions(byId("target"), (source?.targets ?? []).map((code) => [code, names.get(code) ?? shown.of(code)]));
  }
}
