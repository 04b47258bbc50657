// The studio: a picture is sent, and the turns of the answer are shown as they arrive (server-sent events).

import { codeBlock, compare, el, percent } from "./common.js";

const $ = (id) => document.getElementById(id);
const EXAMPLES = $("examples").dataset.pictures.split(" ").filter(Boolean); // DOMAIN/NAME, by the server
const QUIET_S = 120; // a server that says nothing for so long is given up
let picture = null; // {blob, url}
let running = null; // AbortController of the request under way

for (const name of EXAMPLES) {
  const alt = `Example: ${name.split("/").at(-1)}`;
  const image = el("img", { src: `pages/examples/${name}.png`, alt, loading: "lazy" });
  const pick = async () => choose(await (await fetch(image.src)).blob());
  $("examples").append(el("button", { type: "button", class: "example outline", onclick: pick }, image));
}
$("offer").hidden = !EXAMPLES.length;

function choose(blob) {
  if (running) { // what still comes is of the picture before
    running.abort("another picture");
    running = null;
    busy(false);
  }
  if (picture) URL.revokeObjectURL(picture.url);
  picture = { blob, url: URL.createObjectURL(blob) };
  $("target").src = picture.url;
  $("target").hidden = false;
  $("hint").hidden = true;
  $("go").disabled = false;
  clear();
  $("go").focus();
}

$("target").addEventListener("error", () => {
  $("target").hidden = true;
  $("hint").hidden = false;
});
$("file").addEventListener("change", () => $("file").files[0] && choose($("file").files[0]));
for (const [event, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  document.addEventListener(event, (dragged) => {
    dragged.preventDefault();
    $("drop").classList.toggle("over", over);
  });
}
document.addEventListener("drop", (event) => event.dataTransfer.files[0] && choose(event.dataTransfer.files[0]));
document.addEventListener("paste", (event) => {
  const item = [...event.clipboardData.items].find((i) => i.type.startsWith("image/"));
  if (item) choose(item.getAsFile());
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort("stopped");
  else if (picture) draw();
});

function clear() {
  $("alert").replaceChildren();
  $("turns-list").replaceChildren();
  $("status").textContent = "";
  $("turns-empty").hidden = false;
}

function busy(on) {
  $("go").textContent = on ? "Stop" : "Draw it";
  $("go").classList.toggle("secondary", on);
  $("turns-empty").hidden = on || $("turns-list").children.length > 0;
}

function fail(message) {
  $("status").textContent = "";
  $("alert").replaceChildren(el("article", { class: "error" }, el("p", {}, message),
    el("button", { type: "button", onclick: draw }, "Try again")));
}

async function draw() {
  clear();
  const control = (running = new AbortController());
  busy(true);
  $("status").textContent = "Asking the model…";
  try {
    await listen(control);
  } catch (error) {
    if (running !== control) return;
    const { aborted, reason } = control.signal;
    fail(aborted && reason === "stopped" ? "Stopped." : aborted ? "The server went silent." : error.message);
  } finally {
    if (running === control) {
      running = null;
      busy(false);
    }
  }
}

async function listen(control) {
  const sent = { image: await base64(picture.blob), turns: Number($("turns").value), stream: true };
  let timer = 0;
  const awake = () => {
    clearTimeout(timer);
    timer = setTimeout(() => control.abort("silent"), 1000 * QUIET_S);
  };
  awake();
  try {
    const answer = await post(sent, control.signal);
    if (!answer.ok) throw new Error(await refused(answer));
    const show = new Turns();
    for await (const [event, data] of events(answer.body, awake)) {
      show[event]?.(data);
      if (event === "error") throw new Error(data.message);
      if (event === "done") return;
    }
    throw new Error("The connection ended before the answer was complete.");
  } finally {
    clearTimeout(timer);
  }
}

async function post(body, signal) {
  const headers = { "content-type": "application/json" };
  if ($("token").value) document.cookie = `rrvf_token=${encodeURIComponent($("token").value)}; SameSite=Strict; path=/`;
  try {
    return await fetch("v1/image-to-code", { method: "POST", headers, body: JSON.stringify(body), signal });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
}

async function refused(answer) {
  const problem = (await answer.json().catch(() => ({}))).error ?? {};
  if (answer.status === 401) {
    $("access").hidden = false;
    $("token").focus();
    return "This server asks for an access token: enter it and try again.";
  }
  if (problem.kind === "bad_image" || problem.kind === "no_image") return `This is not a picture that can be read (${problem.message}).`;
  if (answer.status === 503) return `The server is busy: ${problem.message}`;
  return problem.message ?? `The server answered ${answer.status}.`;
}

/** [event, data] of a stream of server-sent events. */
async function* events(stream, awake) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (running?.signal.aborted) throw error;
      throw new Error("The connection to the server was lost.");
    });
    if (done) return;
    awake();
    text += value.replaceAll("\r\n", "\n");
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const fields = Object.fromEntries(text.slice(0, end).split("\n").map((line) => {
        const at = line.indexOf(":");
        return [line.slice(0, at), line.slice(at + 1).trimStart()];
      }));
      if (fields.data) yield [fields.event, JSON.parse(fields.data)];
    }
  }
}

async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

const THOUGHT = /<think>([\s\S]*?)(<\/think>|$)/;

/** The turns on the page; one method an event. */
class Turns {
  cards = new Map();

  card(turn) {
    if (!this.cards.has(turn)) {
      const parts = Object.fromEntries(["think", "code", "picture", "words"].map((p) => [p, el("div", { class: p })]));
      const score = el("span", { class: "score" });
      const node = el("article", { class: "turn", "aria-label": `Try ${turn}` },
        el("header", {}, el("strong", {}, `Try ${turn}`), score), ...Object.values(parts));
      this.cards.set(turn, { ...parts, score, node, text: "" });
      $("turns-list").append(node);
      $("status").textContent = `Try ${turn}: writing…`;
    }
    return this.cards.get(turn);
  }

  text({ turn, delta }) {
    const card = this.card(turn);
    card.text += delta;
    const thought = THOUGHT.exec(card.text)?.[1].trim();
    if (thought) card.think.replaceChildren(el("p", { class: "quiet" }, thought));
    const rest = card.text.replace(THOUGHT, "").replace(/^\s*<[a-z_]*>?\s*/, "");
    card.code.replaceChildren(el("pre", { class: "live" }, rest));
  }

  code({ turn, text, code }) {
    const card = this.card(turn);
    const thought = THOUGHT.exec(text)?.[1].trim();
    card.think.replaceChildren(...(thought ? [el("p", { class: "quiet" }, thought)] : []));
    card.code.replaceChildren(code === null
      ? el("div", {}, el("p", { class: "problem" }, "No code was found in what the model wrote:"), el("pre", {}, text))
      : codeBlock(code));
    if (code !== null) $("status").textContent = `Try ${turn}: drawing…`;
  }

  render({ turn, ok, kind, message, picture: png }) {
    const card = this.card(turn);
    if (ok) card.picture.replaceChildren(compare(picture.url, `data:image/png;base64,${png}`));
    else card.picture.replaceChildren(el("p", { class: "problem" }, `The code does not draw (${kind}): ${message}`));
    if (ok) $("status").textContent = `Try ${turn}: comparing…`;
  }

  verdict({ turn, score, feedback }) {
    const card = this.card(turn);
    card.score.replaceChildren(el("meter", { min: 0, max: 1, low: 0.4, high: 0.75, optimum: 1, value: score, "aria-label": "similarity" }),
      ` ${percent(score)} alike`);
    card.words.replaceChildren(el("blockquote", {}, feedback));
  }

  done(found) {
    const like = found.failure ? "The last program does not draw." : `${percent(found.similarity)} alike.`;
    $("status").textContent = `Done in ${found.turns.length === 1 ? "one try" : `${found.turns.length} tries`}. ${like}`;
    $("end").focus({ preventScroll: true });
  }
}
