"use strict";
// The page of a service: a chat with the models of a key, and how the service fares.
// Everything that comes from the service is put in as text, never as HTML.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const REFRESH_MS = 3000;
let key = sessionStorage.getItem("key") || "";
let talks = [];        // one for each column: {model, turns, view}
let asking = null;     // the AbortController of the answers that are under way
let timer = null;

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function send(path, options = {}) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response;
  let message = `the service answered ${response.status}`;
  try { message = (await response.json()).error.message; } catch { /* no JSON: the status says it */ }
  throw new Refused(response.status, message);
}

function why(error) {
  return error instanceof Refused ? error.message : "the service does not answer";
}

// Signing in.

async function enter() {
  const models = (await (await send("v1/models")).json()).data.map((model) => model.id);
  for (const select of [$("model"), $("other")]) {
    const kept = select.id === "other" ? [select.options[0]] : [];
    select.replaceChildren(...kept, ...models.map((name) => new Option(name)));
  }
  sessionStorage.setItem("key", key);
  $("enter").hidden = true;
  $("inside").hidden = $("leave").hidden = false;
  restart();
  await refresh();
  timer = setInterval(watch, REFRESH_MS);
  $("question").focus();
}

function leave() {
  sessionStorage.removeItem("key");
  location.reload();
}

// The chat.

function restart() {
  asking?.abort();
  const names = [$("model").value, $("other").value].filter(Boolean);
  talks = names.map((model) => ({ model, turns: [], view: column(model) }));
  $("columns").replaceChildren(...talks.map((talk) => talk.view));
}

function column(model) {
  const view = element("div", "column");
  view.append(element("h3", "", model));
  view.setAttribute("aria-live", "polite");
  return view;
}

async function ask(question) {
  asking = new AbortController();
  $("send").disabled = true;
  $("stop").hidden = false;
  await Promise.all(talks.map((talk) => answer(talk, question, asking.signal)));
  $("send").disabled = false;
  $("stop").hidden = true;
  watch();
}

async function answer(talk, question, signal) {
  talk.view.append(element("div", "turn user", question));
  const shown = element("div", "turn assistant");
  const text = document.createTextNode("");
  shown.append(text);
  talk.view.append(shown);
  const messages = [...talk.turns, { role: "user", content: question }];
  const body = {
    model: talk.model, messages, stream: true, stream_options: { include_usage: true },
    temperature: Number($("temperature").value),
  };
  const started = performance.now();
  let tokens = 0;
  try {
    const response = await send("v1/chat/completions", {
      method: "POST", body: JSON.stringify(body), signal,
    });
    for await (const event of events(response)) {
      if (event.error) throw new Refused(0, event.error.message);
      text.data += event.choices[0]?.delta.content ?? "";
      tokens = event.usage?.completion_tokens ?? tokens;
      talk.view.scrollTop = talk.view.scrollHeight;
    }
    talk.turns.push(messages.at(-1), { role: "assistant", content: text.data });
    const seconds = (performance.now() - started) / 1000;
    shown.append(element("small", "", `${seconds.toFixed(1)} s, ${(tokens / seconds).toFixed(0)} tokens/s`));
  } catch (error) {
    const stopped = error.name === "AbortError";
    shown.append(element("small", stopped ? "" : "failed", stopped ? "stopped" : why(error)));
    if (stopped && text.data) {
      talk.turns.push(messages.at(-1), { role: "assistant", content: text.data });
    }
  }
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

// How the service fares.

function watch() {
  refresh().catch((error) => { $("state").textContent = why(error); });
}

async function refresh() {
  const status = await (await send("v1/service")).json();
  const who = status.organisation ? ` · ${status.organisation}` : "";
  $("state").textContent = `${status.is_ready ? "ready" : "the base is being loaded"} · ${status.environment}${who}`;
  const answers = status.recent_answers;
  const speeds = answers
    .filter((each) => each.output_tokens && each.latency_s > 0)
    .map((each) => each.output_tokens / each.latency_s);
  facts([
    ...counts(status),
    ["median latency", answers.length ? `${median(answers.map((each) => each.latency_s)).toFixed(2)} s` : "–"],
    ["median tokens/s", speeds.length ? median(speeds).toFixed(0) : "–"],
  ]);
  curve($("latency"), answers.map((each) => each.latency_s));
  curve($("speed"), speeds);
  bars($("memory"), status.adapters);
}

function counts(status) {
  if (status.answers_running === null) return [];  // only a key with the scope admin is told
  return [
    ["answers under way", status.answers_running],
    ["requests waiting", status.requests_waiting],
  ];
}

function facts(pairs) {
  $("facts").replaceChildren(...pairs.map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", String(value)));
    return pair;
  }));
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function curve(svg, values) {
  const width = svg.clientWidth || 400, height = svg.clientHeight || 144;
  const left = 36, bottom = 18, top = 8;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (!values.length) return svg.replaceChildren(label(left, height / 2, "no answers yet"));
  const most = Math.max(...values) * 1.05 || 1;
  const x = (place) => left + (width - left - 6) * (values.length > 1 ? place / (values.length - 1) : 0.5);
  const y = (value) => top + (height - top - bottom) * (1 - value / most);
  const parts = [0, most / 2, most].flatMap((value) => [
    shape("line", { class: "axis", x1: left, x2: width, y1: y(value), y2: y(value) }),
    label(0, y(value) + 4, value >= 10 ? value.toFixed(0) : value.toFixed(2)),
  ]);
  const points = values.map((value, place) => `${x(place)},${y(value)}`);
  parts.push(shape("polyline", { class: "curve", points: points.join(" ") }));
  parts.push(...values.map((value, place) => {
    const dot = shape("circle", { class: "dot", cx: x(place), cy: y(value), r: 2 });
    const title = shape("title", {});
    title.textContent = value.toFixed(2);
    dot.append(title);
    return dot;
  }));
  parts.push(label(left, height - 4, "older"), label(width - 40, height - 4, "newest"));
  return svg.replaceChildren(...parts);
}

function bars(svg, adapters) {
  const width = svg.clientWidth || 400, row = 22;
  const height = Math.max(row, adapters.length * row);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  if (!adapters.length) return svg.replaceChildren(label(0, 15, "none yet: they are loaded when they are asked"));
  const most = Math.max(...adapters.map((each) => each.size_bytes));
  return svg.replaceChildren(...adapters.flatMap((each, place) => {
    const length = Math.max(2, (width * 0.4 * each.size_bytes) / most);
    const megabytes = (each.size_bytes / 1e6).toFixed(1);
    const state = each.in_slot ? "in a slot" : "waits";
    return [
      shape("rect", { class: "bar", x: 0, y: place * row + 3, width: length, height: row - 8, rx: 2 }),
      label(length + 6, place * row + 15, `${each.name}  ${megabytes} MB, ${state}`),
    ];
  }));
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function label(x, y, text) {
  const made = shape("text", { x, y });
  made.textContent = text;
  return made;
}

function element(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}

// Events of the page.

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key").value.trim();
  $("refused").textContent = "";
  enter().catch((error) => { $("refused").textContent = why(error); });
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question || $("send").disabled) return;
  $("question").value = "";
  ask(question);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
$("stop").addEventListener("click", () => asking?.abort());
$("leave").addEventListener("click", leave);
$("reset").addEventListener("click", restart);
for (const id of ["model", "other"]) $(id).addEventListener("change", restart);
enter().catch((error) => {
  clearInterval(timer);
  if (key) $("refused").textContent = why(error);
});
