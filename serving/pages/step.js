// Seconds of a step by cause, what stood idle, what was of no use, and what the next unit would buy.

import { ask, el, fixed, percent } from "./common.js";

const COLOURS = { generation: "#3b82c4", render: "#e08a3c", judge: "#9b6fc0", tail: "#d6596b", admission: "#8a9a5b",
  queue: "#b0a08a", learner: "#2f9e7a", sync: "#c9a227", checkpoint: "#6b7c93", other: "#a3a3a3" };
const WORDS = { generation: "waiting for a member that is being sampled", render: "waiting for a member that is being rendered",
  judge: "waiting for a member that is being judged", tail: "waiting for the last members of a group", admission: "waiting for a group to begin",
  queue: "waiting for a batch that is ready", learner: "learning", sync: "synchronising weights", checkpoint: "saving", other: "anything else" };
const report = document.getElementById("report");
const colour = (cause, width) => {
  const bar = el("i", { title: cause });
  bar.style.setProperty("--c", COLOURS[cause]);
  if (width !== undefined) bar.style.width = `${width}%`;
  return bar;
};
const table = (heads, rows) => el("div", { class: "scroll" }, el("table", {},
  el("thead", {}, el("tr", {}, heads.map((h, i) => el("th", { class: i ? "number" : "" }, h)))),
  el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, i) => el("td", { class: i ? "number" : "" }, cell)))))));

function show(found) {
  if (!found.steps) return [el("p", {}, "Nothing to explain yet: the run has no finished step with a trace.")];
  const causes = Object.entries(found.by_cause).filter(([, s]) => s > 0.005 * found.step_s).sort((a, b) => b[1] - a[1]);
  const parts = [
    el("p", {}, `A step takes ${fixed(found.step_s)} s (mean of ${found.counted} of ${found.steps} steps; the first fill the pipeline).`),
    el("div", { class: "stack", role: "img", "aria-label": causes.map(([c, s]) => `${c} ${fixed(s)} s`).join(", ") },
      causes.map(([cause, seconds]) => colour(cause, (100 * seconds) / found.step_s))),
    table(["What the learner's time goes to", "s", "share"], causes.map(([cause, seconds]) => [
      el("span", { class: "key" }, el("span", {}, colour(cause), WORDS[cause])), fixed(seconds), percent(seconds / found.step_s)])),
    el("h2", {}, "Idle"),
    table(["", "idle", "requests at once"], [["learner", "learner", null], ["engine", "engine", "generation"], ["renderer", "render", "render"], ["judge", "judge", "judge"]]
      .map(([words, key, phase]) => [words, percent(found.idle[key]), phase ? fixed(found.idle[`${phase}_requests`], 1) : ""])),
    el("h2", {}, "What became of the work"),
    table(["State of the group", "groups", "void members", "tokens", "share", "engine s", "render s", "judge s"], found.wasted.map((row) => [
      row.state.replaceAll("_", " "), row.groups, row.void, row.tokens.toLocaleString(), percent(row.share, 1), fixed(row.generation, 0), fixed(row.render, 0), fixed(row.judge, 0)].map((cell) => (typeof cell === "number" ? String(cell) : cell)))),
  ];
  if (found.next_units) {
    const { model } = found;
    parts.push(el("h2", {}, "What the next unit would buy"),
      table(["", "s a step", "faster"], found.next_units.map((row) => [row.unit, fixed(row.step_s), percent(row.faster, 1)])),
      el("p", { class: "quiet" }, `By a closed queueing network of the measured demands: a batch takes ${fixed(model.rollouts)} s to play and ${fixed(model.learner)} s to learn from, ` +
        `hence ${fixed(model.step)} s a step, ${percent(Math.abs(model.error))} ${model.error > 0 ? "above" : "below"} what was measured. ` +
        "Each unit is taken to come with processors of its own; where parts share processors, expect less."));
  }
  return parts;
}

try {
  report.replaceChildren(...show(await ask("api/step")));
} catch (error) {
  report.replaceChildren();
  document.getElementById("alert").replaceChildren(el("article", { class: "error" }, el("p", {}, error.message)));
}
