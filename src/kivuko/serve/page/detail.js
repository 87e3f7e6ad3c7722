// The dialog of one picture: large, with what is known of it and the word-by-word alignment with the query.

import * as api from "./api.js";
import { make, titleOf } from "./grid.js";
import { planTable } from "./alignment.js";

const at = (id) => document.getElementById(id);

export class Detail {
  constructor(moreLikeThis) {
    this.dialog = at("detail");
    this.asking = null;
    at("close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    this.dialog.addEventListener("close", () => {
      this.asking?.abort();
      if (this.opener?.isConnected) this.opener.focus();
    });
    at("more").addEventListener("click", () => {
      this.opener = null;
      this.dialog.close();
      moreLikeThis(this.hit);
    });
  }

  open(hit, opener, query) {
    this.hit = hit;
    this.opener = opener;
    at("detail-title").textContent = titleOf(hit);
    at("detail-key").textContent = hit.caption === null ? "" : hit.key;
    const picture = at("detail-picture");
    picture.removeAttribute("src");
    picture.alt = titleOf(hit);
    api.showThumbnail(picture, hit.id);
    const facts = [["Rank", hit.rank], ["Cosine", hit.score?.toFixed(3)], ["Size", `${hit.width} × ${hit.height}`]];
    if (hit.copies > 1) facts.push(["Copies", hit.copies]);
    facts.push(...Object.entries(hit.metadata).slice(0, 20));
    at("detail-facts").replaceChildren(
      ...facts.filter(([, value]) => value !== undefined && value !== null)
        .map(([name, value]) => make("div", {}, make("dt", { dir: "auto" }, name), make("dd", { dir: "auto" }, String(value)))),
    );
    this.#align(hit, query);
    this.dialog.showModal();
    at("detail-title").focus();
  }

  async #align(hit, query) {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const section = at("alignment");
    section.hidden = !query || hit.caption === null;
    if (section.hidden) return;
    at("alignment-plan").replaceChildren(make("div", { class: "waiting" }));
    at("alignment-note").textContent = "Aligning … (the first time, the English teacher is loaded)";
    try {
      const plan = await api.align({ query, id: hit.id }, asking.signal);
      at("alignment-plan").replaceChildren(planTable(plan));
      at("alignment-note").textContent = note(plan);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      at("alignment-plan").replaceChildren();
      at("alignment-note").textContent = `No alignment: ${problem.message}`;
    }
  }
}

function note(plan) {
  const told = ["Each row says where a word of the query is carried, in per cent."];
  if (plan.unknown_words.length) told.push(`Not known to the model: ${plan.unknown_words.join(", ")}.`);
  if (!plan.converged) told.push("The plan has not converged.");
  return told.join(" ");
}
