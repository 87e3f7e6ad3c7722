// The dialog of one image: its metadata, and the alignment of its caption with the query.

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

  // query: the query that rank and cosine belong to, as {text, misspelled}; null for a search by an image.
  open(hit, opener, query) {
    this.hit = hit;
    this.opener = opener;
    at("detail-title").textContent = titleOf(hit);
    at("detail-key").textContent = hit.caption === null ? "" : hit.key;
    const image = at("detail-image");
    image.removeAttribute("src");
    image.alt = titleOf(hit);
    api.showThumbnail(image, hit.id);
    const facts = [["Rank", hit.rank]];
    if ("rank_before" in hit) facts.push(["Rank without typos", hit.rank_before ?? "beyond 100"]);
    if ("rank_after" in hit) facts.push(["Rank with typos", hit.rank_after ?? "beyond 100"]);
    facts.push(["Cosine", hit.score?.toFixed(3)], ["Size", `${hit.width} × ${hit.height}`]);
    if (hit.copies > 1) facts.push(["Copies", hit.copies]);
    facts.push(...Object.entries(hit.metadata).slice(0, 20));
    at("detail-facts").replaceChildren(
      ...(query ? [fact(query.misspelled ? "Misspelled query" : "Query", query.text, "whole")] : []),
      ...facts.filter(([, value]) => value !== undefined && value !== null).map(([name, value]) => fact(name, value)),
    );
    this.#align(hit, query?.text);
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

function fact(name, value, kind = null) {
  return make("div", { class: kind }, make("dt", { dir: "auto" }, name), make("dd", { dir: "auto" }, String(value)));
}

function note(plan) {
  const notes = ["Each row is the transport plan of a word, in percent. Unrelated words get a share, too; a word weighs by its subwords."];
  if (plan.unknown_words.length) notes.push(`Not known to the model: ${plan.unknown_words.join(", ")}.`);
  if (!plan.converged) notes.push("The plan has not converged.");
  return notes.join(" ");
}
