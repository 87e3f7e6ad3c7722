// Labels about a query: its language, misspelled words, added typos.

import { make } from "./grid.js";

const percent = (share) => `${Math.round(share * 100)} %`;

export const isGuessed = (language) => Boolean(language) && language.code !== "und";

export function badge(label, name, image, remove) {
  const button = make("button", { type: "button", class: "remove", "aria-label": "Back to searching by words" }, "×");
  button.addEventListener("click", remove);
  return make("span", { class: "chip like" }, image, make("span", {}, `${label}: `, make("b", { dir: "auto" }, name)), button);
}

export function understood(answer, typos) {
  const read = typos ?? answer;
  const parts = isGuessed(answer.language) ? [language(answer.language)] : [];
  if (typos) parts.push(make("span", { class: "chip typo" }, "typed as ", make("b", { dir: "auto" }, ...marked(answer.query, typos.query))));
  parts.push(...read.readings.slice(0, 4).map(reading));
  if (read.unknown_words.length) parts.push(unknown(read.unknown_words));
  parts.push(make("span", { class: "quiet took" }, `${answer.took_ms < 10 ? answer.took_ms.toFixed(1) : Math.round(answer.took_ms)} ms`));
  return parts;
}

// The misspelled query, with the words outside a longest common subsequence marked.
function marked(before, after) {
  const [old, now] = [before.split(" "), after.split(" ")];
  const common = Array.from({ length: old.length + 1 }, () => new Array(now.length + 1).fill(0)); // of what is left
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      common[i][j] = old[i] === now[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const parts = [];
  for (let i = 0, j = 0; j < now.length; ) {
    const isKept = i < old.length && old[i] === now[j];
    if (!isKept && i < old.length && common[i + 1][j] >= common[i][j + 1]) { i += 1; continue; }
    parts.push(j ? " " : "", isKept ? now[j] : make("span", { class: "changed" }, now[j]));
    if (isKept) i += 1;
    j += 1;
  }
  return parts;
}

function unknown(words) {
  const more = words.length > 6 ? " …" : "";
  const names = words.slice(0, 6).flatMap((word, place) => [place ? ", " : "", make("bdi", {}, word)]);
  return make("span", { class: "chip unknown", title: "Out of the model's vocabulary, so the search ignores it" }, "not known: ", make("b", {}, ...names, more));
}

function language(guess) {
  const how = guess.basis === "words" ? `${percent(guess.share)} by its words` : "by its script";
  return make("span", { class: "chip", id: "language", title: `Guessed ${how}` }, make("b", {}, guess.name));
}

function reading(one) {
  const [best, ...others] = one.read_as;
  const more = others.map((other) => `${other.word} ${percent(other.share)}`).join(", ");
  return make(
    "span", { class: "chip", title: more ? `or ${more}` : null },
    make("span", { dir: "auto" }, `“${one.word}”`), " read as ", make("b", { dir: "auto" }, best.word), ` ${percent(best.share)}`,
  );
}
