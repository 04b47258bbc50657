import { ask, el, fixed } from "./common.js";

const table = document.getElementById("runs");
try {
  const { runs } = await ask("api");
  table.replaceChildren(...runs.map((run) => el("tr", {},
    el("td", {}, el("a", { href: `${encodeURIComponent(run.name)}/` }, run.name)),
    el("td", { class: "number" }, String(run.step)),
    el("td", { class: "number" }, fixed(run.reward, 3)),
    el("td", {}, new Date(1000 * run.changed).toLocaleString()))));
  if (!runs.length) table.append(el("tr", {}, el("td", { colSpan: 4 }, "No runs here yet: make train writes the first.")));
} catch (error) {
  document.getElementById("alert").replaceChildren(el("article", { class: "error" }, el("p", {}, error.message)));
}
