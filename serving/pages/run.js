// A run: its groups page by page, its curves beside them, and a member in full. Looks for news every other second.

import { ask, codeBlock, compare, el, fixed } from "./common.js";

const $ = (id) => document.getElementById(id);
const SIZE = 20, LOOK_MS = 2000;
const CURVES = { reward: "Reward", exec_rate: "Programs that run", similarity: "Similarity", staleness_mean: "Staleness", step_s: "Seconds a step" };
const form = $("filters");
let offset = 0, revision = -1, newest = 0, latest = 0, figures = null;
const plots = new Map();

$("name").textContent = decodeURIComponent(location.pathname.split("/").at(-2));
document.title = `${$("name").textContent} · rrvf`;
const kept = new URLSearchParams(location.search);
for (const [key, value] of kept) {
  const field = form.elements[key];
  if (field instanceof HTMLSelectElement && ![...field.options].some((o) => o.value === value)) field.append(el("option", { value }, value));
  if (field) field.value = value;
}

function query() {
  return new URLSearchParams([...new FormData(form)].filter(([key, value]) => value && !(key === "sort" && value === "newest")));
}

async function load() {
  const mine = ++latest; // an answer that a later question has overtaken is dropped
  const asked = query();
  history.replaceState(null, "", asked.size ? `?${asked}` : location.pathname);
  asked.set("offset", offset);
  asked.set("limit", SIZE);
  try {
    const found = await ask(`api/groups?${asked}`);
    if (mine !== latest) return;
    revision = found.revision;
    if (offset >= found.total && offset > 0) return void ((offset = 0), await load());
    options(form.elements.state, found.states);
    options(form.elements.failure, found.failures);
    $("groups").replaceChildren(...(found.groups.length ? found.groups.map(shown) : [el("p", { class: "quiet" }, "No group fits.")]));
    $("place").textContent = found.total ? `${offset + 1}–${Math.min(offset + SIZE, found.total)} of ${found.total}` : "none";
    $("back").disabled = offset === 0;
    $("on").disabled = offset + SIZE >= found.total;
    $("alert").replaceChildren();
  } catch (error) {
    if (mine === latest) problem(error);
  }
}

function problem(error) {
  $("alert").replaceChildren(el("article", { class: "error" }, el("p", {}, error.message)));
}

function options(select, counts) {
  const chosen = select.value;
  const names = Object.keys(counts);
  if (chosen && !names.includes(chosen)) names.push(chosen);
  select.replaceChildren(el("option", { value: "" }, "any"), ...names.map((n) => el("option", { value: n }, `${n} (${counts[n] ?? 0})`)));
  select.value = chosen;
}

/** A group, or a line in its place where its record is damaged: one record takes no other one away. */
function shown(g) {
  try {
    return group(g);
  } catch {
    return el("article", { class: "group" }, el("p", { class: "problem" }, `Group ${g.group}: its record is damaged.`));
  }
}

const picture = (name) => `pictures/${encodeURIComponent(name)}`;

function group(g) {
  const state = el("span", { class: `tag ${g.state}`, title: g.reason }, g.state.replaceAll("_", " "));
  const { oldest, newest: youngest } = g.ledger;
  const versions = oldest >= 0 ? `weights ${oldest === youngest ? oldest : `${oldest}–${youngest}`}` : null;
  const step = g.state === "consumed" ? `step ${g.step}` : `for step ${g.step}`;
  const target = g.target
    ? el("figure", {}, el("img", { src: picture(g.target), alt: `Target ${g.prompt}`, loading: "lazy" }), el("figcaption", {}, "target"))
    : null;
  return el("article", { class: "group", "aria-label": `Group ${g.group}` },
    el("header", {}, el("strong", {}, `Group ${g.group}`), state, el("span", {}, step),
      versions ? el("span", { class: "quiet" }, versions) : null, g.reason ? el("span", { class: "problem" }, g.reason) : null),
    g.members.length
      ? el("div", { class: "members" }, target, ...g.members.map((m, place) => member(g, m, place)))
      : el("p", { class: "quiet" }, g.state === "running" ? "Being played, or given up when the run ended." : "Nothing of it was recorded."));
}

function member(g, m, place) {
  if (m.outcome !== "done") return el("div", { class: "member" }, el("b", {}, "void"), el("span", { class: "problem" }, m.outcome));
  const strip = m.turns.map((turn) => turn.picture
    ? el("img", { src: picture(turn.picture), alt: `Turn`, loading: "lazy" })
    : el("span", { class: "none" }, turn.failure ?? (turn.kind === "malformed" ? "malformed" : "·")));
  const advantage = typeof m.advantage === "number"
    ? el("span", { class: m.advantage > 0 ? "up" : m.advantage < 0 ? "down" : "" }, ` ${m.advantage > 0 ? "▲" : m.advantage < 0 ? "▼" : ""}${fixed(m.advantage)}`)
    : null;
  const card = el("button", { type: "button", class: "member", onclick: () => detail(g, m, place), "aria-label": `Member ${place + 1} of group ${g.group}` },
    el("span", { class: "strip" }, strip),
    el("span", {}, el("b", {}, fixed(m.reward.total)), advantage),
    m.turns.at(-1)?.read ? el("span", { class: "read", title: "what its program says the picture shows" }, m.turns.at(-1).read) : null,
    el("span", { class: "quiet" }, `${m.turns.length} turn${m.turns.length === 1 ? "" : "s"}, ${m.ending.replaceAll("_", " ")}`));
  card.style.setProperty("--turns", Math.max(1, m.turns.length));
  return card;
}

function detail(g, m, place) {
  const r = m.reward;
  const facts = { reward: fixed(r.total, 3), similarity: fixed(r.vision, 3), format: fixed(r.format), tool: fixed(r.tool),
    advantage: fixed(m.advantage, 3), tokens: m.tokens, ending: m.ending, group: g.state + (g.reason ? `: ${g.reason}` : "") };
  $("title").textContent = `Group ${g.group}, member ${place + 1}`;
  const cards = m.turns.map((turn, number) => {
    try {
      return turnCard(g, turn, number);
    } catch {
      return el("p", { class: "problem" }, `Turn ${number + 1}: its record is damaged.`);
    }
  });
  $("turns").replaceChildren(list(facts), ...cards);
  $("detail").showModal();
}

const list = (facts) => el("div", { class: "facts" }, Object.entries(facts).map(([key, value]) => el("span", {}, `${key} `, el("b", {}, String(value)))));

function turnCard(g, turn, number) {
  const [generation, render, judge] = turn.seconds;
  const waited = Math.max(0, render - turn.worked[0]) + (turn.worked[1] ? Math.max(0, judge - turn.worked[1]) : 0);
  const facts = { kind: turn.kind.replaceAll("_", " "), score: fixed(turn.score, 3), tokens: turn.sampled,
    weights: turn.versions.map(([version, count]) => (turn.versions.length > 1 ? `${version} (${count} tokens)` : version)).join(" → "),
    generation: `${fixed(generation)} s`, render: `${fixed(render)} s`, judge: `${fixed(judge)} s`, "of it waiting": `${fixed(waited)} s` };
  const parts = Object.entries(turn.sub_scores ?? {}).map(([key, value]) => `${key} ${fixed(value)}`).join(", ");
  return el("section", {}, el("h2", {}, `Turn ${number + 1}`), list(facts),
    g.whole === false ? el("p", { class: "quiet" }, "Texts and pictures of this group were not kept (run.trajectories_mb).") : null,
    turn.picture ? compare(picture(g.target), picture(turn.picture)) : null,
    turn.failure ? el("p", { class: "problem" }, `${turn.failure}: ${turn.message ?? ""}`)
      : turn.message ? el("p", { class: "quiet" }, turn.message) : null,
    turn.read ? el("p", {}, "Read: ", el("b", {}, turn.read)) : null,
    turn.feedback ? el("blockquote", {}, turn.feedback) : null,
    parts ? el("p", { class: "quiet" }, parts) : null,
    turn.code ? codeBlock(turn.code) : null,
    turn.text ? el("details", {}, el("summary", {}, "All that was sampled"), el("pre", {}, turn.text)) : null);
}

async function curves() {
  figures = await ask("api/curves");
  const more = $("more");
  if (!more.options.length) {
    const names = Object.keys(figures.figures).filter((n) => !(n in CURVES)).sort();
    more.append(...names.map((n) => el("option", { value: n, selected: n === "entropy" }, n.replaceAll("_", " "))));
  }
  const wanted = Object.keys(CURVES).filter((n) => n in figures.figures);
  for (const name of wanted) plot($("curves"), name, CURVES[name], figures.figures[name]);
  if (more.value) plot($("chosen"), "chosen", more.value.replaceAll("_", " "), figures.figures[more.value]);
  const last = figures.step.length;
  newest = last;
  $("glance").textContent = last ? `${last} steps; reward ${fixed(figures.figures.reward?.at(-1), 3)} in the last` : "No step is finished yet.";
}

function plot(parent, name, words, values) {
  const data = [figures.step, values];
  if (plots.has(name) && plots.get(name).words === words) return plots.get(name).chart.setData(data);
  plots.get(name)?.node.remove();
  const holder = el("div");
  const node = el("figure", {}, el("figcaption", {}, words), holder);
  parent.append(node);
  const style = getComputedStyle(document.documentElement);
  const axis = { stroke: style.getPropertyValue("--pico-muted-color"), grid: { stroke: style.getPropertyValue("--pico-muted-border-color"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const chart = new uPlot({
    width: name === "chosen" || innerWidth > 960 ? Math.max(200, parent.clientWidth || 300) : 250, height: 130, legend: { show: false }, cursor: { y: false },
    scales: { x: { time: false } },
    axes: [{ ...axis, size: 26, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] }, { ...axis, size: 44 }],
    series: [{}, { stroke: style.getPropertyValue("--pico-primary"), width: 2, spanGaps: true, points: { show: values.length < 3 } }],
  }, data, holder);
  plots.set(name, { chart, node, words });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
addEventListener("resize", () => redraw());
function redraw() {
  for (const { node } of plots.values()) node.remove();
  plots.clear();
  curves().catch(problem);
}

let typing = 0;
form.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => ((offset = 0), load()), 250);
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(() => ((offset = 0), load())));
$("back").addEventListener("click", () => turnTo(offset - SIZE));
$("on").addEventListener("click", () => turnTo(offset + SIZE));
function turnTo(place) {
  offset = Math.max(0, place);
  load().then(() => scrollTo({ top: 0 }));
}
$("more").addEventListener("change", () => curves().catch(problem));
$("close").addEventListener("click", () => $("detail").close());
$("detail").addEventListener("click", (event) => event.target === $("detail") && $("detail").close());

let placed = "";

function placement(nodes) {
  if (JSON.stringify(nodes) === placed) return; // what somebody reads or marks stays
  placed = JSON.stringify(nodes);
  const line = ({ node, parts }) => `${node}: ${Object.entries(parts).map(([part, count]) => `${count} x ${part}`).join(", ")}`;
  $("nodes").hidden = !nodes.length;
  $("nodes").querySelector("summary").textContent = nodes.length === 1 ? "On one node" : `On ${nodes.length} nodes`;
  $("nodes").querySelector("ul").replaceChildren(...nodes.map((node) => el("li", {}, line(node))));
}

async function look() {
  try {
    const state = await ask("api/state");
    placement(state.nodes);
    if (state.revision !== revision && offset === 0 && !$("detail").open) await load();
    if (state.steps !== newest) await curves();
    if ($("alert").dataset.lost) {
      $("alert").replaceChildren();
      delete $("alert").dataset.lost;
    }
  } catch (error) {
    $("alert").dataset.lost = "yes";
    problem(error);
  }
  setTimeout(look, LOOK_MS);
}

await Promise.all([load(), curves().catch(problem)]);
await look();
