// Small helpers of all pages. Whatever comes from a model, a judge or a run's files becomes text, never markup.

import hljs from "./vendor/highlight.core.min.js";
import python from "./vendor/highlight.python.min.js";
import xml from "./vendor/highlight.xml.min.js";

hljs.registerLanguage("python", python);
hljs.registerLanguage("xml", xml);

/** An element: properties by name (class, data-*, aria-* and on* as well), then children; null children are left out. */
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "class") node.className = value;
    else if (key in node && !key.includes("-")) node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** A number with `digits` places, or a dash where there is none. */
export const fixed = (value, digits = 2) => (typeof value === "number" ? value.toFixed(digits) : "–");

export const percent = (value, digits = 0) =>
  typeof value === "number" ? `${(100 * value).toFixed(digits)}%` : "–";

/** Highlighted code with a button that copies it. */
export function codeBlock(code) {
  const inner = el("code", { class: `language-${/^\s*</.test(code) ? "xml" : "python"}` }, code);
  hljs.highlightElement(inner); // escapes what it marks up
  const button = el("button", { type: "button", class: "copy outline", onclick: copy }, "Copy");
  async function copy() {
    button.textContent = (await toClipboard(code)) ? "Copied" : "Copy failed";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }
  return el("div", { class: "code" }, button, el("pre", { tabIndex: 0, "aria-label": "Code" }, inner));
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // plain http on another machine has no clipboard: the old way
    const area = el("textarea", { value: text, class: "skip" });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

let compared = 0;
const VIEWS = { side: "Side by side", swipe: "Swipe", difference: "Difference" };

/** Two pictures to be compared: beside each other, one over the other under a slider, or their difference. */
export function compare(target, render) {
  const name = `view-${++compared}`;
  const slider = el("input", {
    type: "range", min: 0, max: 100, value: 50, class: "swipe", "aria-label": "How much of the target is shown",
    oninput: () => frame.style.setProperty("--at", `${slider.value}%`),
  });
  const frame = el("div", { class: "frame" },
    el("figure", { class: "a" }, el("img", { src: target, alt: "Target" }), el("figcaption", {}, "target")),
    el("figure", { class: "b" }, el("img", { src: render, alt: "What the code draws" }), el("figcaption", {}, "render")),
    slider);
  frame.style.setProperty("--at", "50%");
  const shown = frame.querySelector("img");
  shown.addEventListener("load", () => frame.style.setProperty("--ratio", shown.naturalWidth / shown.naturalHeight));
  const choices = Object.entries(VIEWS).map(([view, words]) =>
    el("label", {}, el("input", {
      type: "radio", name, value: view, checked: view === "side",
      onchange: () => (box.dataset.view = view),
    }), words));
  const box = el("div", { class: "compare", "data-view": "side" },
    el("fieldset", { class: "views" }, el("legend", { class: "skip" }, "View"), ...choices), frame,
    el("p", { class: "note quiet" }, "White where both are the same."));
  return box;
}

/** JSON of an address; throws an Error in words a person can act on. */
export async function ask(address) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin" });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(found.error?.message ?? `The server answered ${answer.status}.`);
  return found;
}
