// Chat and completion: what the form asks for, as the API takes it.

import { streamInto } from "./streamed.js";

function settings(form) {
  const found = { max_tokens: Number(form.maxTokens) || 128 };
  if (form.temperature !== "") found.temperature = Number(form.temperature);
  return found;
}

export const chat = {
  id: "chat",
  name: "Chat",
  serves: "text-generation",
  label: "Message",
  example: "Write one sentence about rain.",
  help: "The conversation goes on with each message, until it is cleared.",
  goesOn: true,

  async run(lane, form, model, signal) {
    const system = form.system.trim() ? [{ role: "system", content: form.system }] : [];
    const said = { role: "user", content: form.prompt };
    lane.begin(form.prompt);
    const body = { model, messages: [...system, ...lane.messages, said], ...settings(form) };
    const answer = await streamInto(lane, "v1/chat/completions", body, (choice) => choice.delta.content ?? "", signal);
    lane.messages.push(said, { role: "assistant", content: answer });
  },
};

export const completion = {
  id: "completion",
  name: "Complete",
  serves: "text-generation",
  label: "Beginning of the text",
  example: "Once upon a time",
  help: "The model writes on from here.",

  async run(lane, form, model, signal) {
    lane.begin();
    const body = { model, prompt: form.prompt, ...settings(form) };
    await streamInto(lane, "v1/completions", body, (choice) => choice.text ?? "", signal);
  },
};
