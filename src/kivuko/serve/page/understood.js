// How a query was understood, as a row of small labels: its language, misspelt words, typos that were put in.

import { make } from "./grid.js";

const percent = (share) => `${Math.round(share * 100)} %`;

export function badge(label, name, remove) {
  const button = make("button", { type: "button", class: "remove", "aria-label": "Back to searching by words" }, "×");
  button.addEventListener("click", remove);
  return make("span", { class: "chip" }, `${label}: `, make("b", { dir: "auto" }, name), button);
}

export function understood(answer, typos) {
  const read = typos ?? answer;
  const found = [language(answer.language)];
  if (typos) found.push(make("span", { class: "chip typo" }, "typed as ", make("b", { dir: "auto" }, typos.query)));
  found.push(...read.readings.slice(0, 4).map(reading));
  found.push(make("span", { class: "quiet took" }, `${answer.took_ms < 10 ? answer.took_ms.toFixed(1) : Math.round(answer.took_ms)} ms`));
  return found;
}

function language(told) {
  if (told.code === "und") return make("span", { class: "chip quiet", id: "language" }, "Language unknown");
  const how = told.basis === "words" ? `${percent(told.share)} by its words` : "by its script";
  return make("span", { class: "chip", id: "language", title: `Told ${how}` }, make("b", {}, told.name));
}

function reading(one) {
  const [best, ...others] = one.read_as;
  const more = others.map((other) => `${other.word} ${percent(other.share)}`).join(", ");
  return make(
    "span", { class: "chip", title: more ? `or ${more}` : null },
    make("span", { dir: "auto" }, `«${one.word}»`), " read as ", make("b", { dir: "auto" }, best.word), ` ${percent(best.share)}`,
  );
}
