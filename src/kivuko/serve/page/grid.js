// The grid of images, with arrow keys. Answers of the server are inserted as text, never as HTML.

import { showThumbnail } from "./api.js";

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const titleOf = (image) => image.caption ?? image.key;

function movement(hit) {
  if ("rank_before" in hit) {
    if (hit.rank_before === hit.rank) return ["same", "=", `still ${hit.rank}`];
    if (hit.rank_before === null) return ["up", `new → ${hit.rank}`, `new, now ${hit.rank}`];
    return [hit.rank_before > hit.rank ? "up" : "down", `${hit.rank_before} → ${hit.rank}`, `was ${hit.rank_before}, now ${hit.rank}`];
  }
  if ("rank_after" in hit) {
    const now = hit.rank_after ?? "100+";
    return ["down", `${hit.rank} → ${now}`, `was ${hit.rank}, now ${hit.rank_after ?? "beyond 100"}`];
  }
  return null;
}

function card(hit, open) {
  const title = titleOf(hit);
  const moved = movement(hit);
  const image = make("img", { alt: "", loading: hit.rank > 12 ? "lazy" : "eager", decoding: "async", width: 256, height: 256 });
  showThumbnail(image, hit.id);
  const level = make("span", { class: "level", "aria-hidden": "true" });
  level.style.setProperty("--level", Math.max(0, Math.min(1, hit.score)).toFixed(3));
  const button = make(
    "button",
    {
      type: "button", class: "card", tabindex: -1, "data-id": hit.id,
      "aria-label": `${hit.rank}: ${title}, cosine ${hit.score.toFixed(2)}${moved ? `, ${moved[2]}` : ""}`,
    },
    make("span", { class: "tile" }, image, moved && make("span", { class: `move ${moved[0]}` }, moved[1])),
    make(
      "span", { class: "line" },
      make("span", { class: "title", dir: "auto", title }, title),
      make("span", { class: "score" }, hit.score.toFixed(2)),
    ),
    level,
  );
  button.addEventListener("click", () => open(hit, button));
  return make("li", {}, button);
}

export class Grid {
  constructor(list, open) {
    this.list = list;
    this.open = open;
    list.addEventListener("keydown", (event) => this.#move(event));
    list.addEventListener("focusin", (event) => this.#rove(event.target));
  }

  show(hits) {
    this.list.replaceChildren(...hits.map((hit) => card(hit, this.open)));
    this.cards[0]?.setAttribute("tabindex", "0");
  }

  get cards() { return [...this.list.querySelectorAll(".card")]; }

  cardOf(id) { return this.list.querySelector(`.card[data-id="${Number(id)}"]`); }

  focusFirst() {
    this.cards[0]?.focus({ preventScroll: true });
    return this.cards.length > 0;
  }

  #rove(card) {
    for (const other of this.cards) other.setAttribute("tabindex", other === card ? "0" : "-1");
  }

  #move(event) {
    const cards = this.cards;
    const at = cards.indexOf(document.activeElement);
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const top = cards[0].offsetTop;
    const perRow = Math.max(1, cards.findIndex((one) => one.offsetTop > top) < 0 ? cards.length : cards.findIndex((one) => one.offsetTop > top));
    const forward = getComputedStyle(this.list).direction === "rtl" ? -1 : 1;
    const steps = { ArrowRight: forward, ArrowLeft: -forward, ArrowDown: perRow, ArrowUp: -perRow, Home: -at, End: cards.length - 1 - at };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const to = at + steps[event.key];
    if (to < 0 && event.key === "ArrowUp") document.getElementById("query").focus();
    else cards[Math.max(0, Math.min(cards.length - 1, to))].focus();
  }
}
