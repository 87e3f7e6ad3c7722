// The page: searches by text or image, and their results.

import * as api from "./api.js";
import { Detail } from "./detail.js";
import { Grid, make, titleOf } from "./grid.js";
import { badge, isGuessed, understood } from "./understood.js";

const RESULTS = 30;
const PAUSE_MS = 110; // after a key, before the search
const at = (id) => document.getElementById(id);

const state = { kind: "text", q: "", id: null, title: "", file: null, edits: 0, seed: 1 };
let limits = { max_upload: Infinity };
let asking = null;
let timer = 0;
let offline = false;
let landing = null; // where the next answer is entered: an image's number, FIRST, or null to leave the focus where it is
const FIRST = "first";
history.scrollRestoration = "manual"; // what is scrolled to is not there yet when the browser would

const detail = new Detail((hit) => {
  history.replaceState({ picked: hit.id }, ""); // so that going back ends on the image that one left from
  begin({ kind: "like", id: hit.id, title: titleOf(hit) }, FIRST);
});
// The queries that the ranks and cosines of both grids belong to; null: a search by an image.
const queries = { grid: null, lost: null };
const grid = new Grid(at("grid"), (hit, opener) => detail.open(hit, opener, queries.grid));
const lost = new Grid(at("lost-grid"), (hit, opener) => detail.open(hit, opener, queries.lost));

// ---- searches -------------------------------------------------------------------------------------------------------

function begin(change, where = null) {
  Object.assign(state, change);
  landing = where;
  if (state.kind === "text" && at("query").value !== state.q) at("query").value = state.q;
  if (state.kind !== "text") at("query").value = "";
  keepAddress();
  run();
}

async function run() {
  clearTimeout(timer);
  asking?.abort();
  const own = (asking = new AbortController());
  at("typos").hidden = state.kind !== "text";
  if (state.kind === "text" && !state.q.trim()) {
    welcome();
    return;
  }
  const waiting = setTimeout(() => document.body.classList.add("busy"), 150);
  try {
    const answer = await request(own.signal);
    if (own === asking) show(answer);
  } catch (problem) {
    if (own === asking && problem.name !== "AbortError" && !(problem instanceof api.Unreachable)) refuse(problem.message);
  } finally {
    clearTimeout(waiting);
    if (own === asking) document.body.classList.remove("busy");
  }
}

async function request(signal) {
  if (state.kind === "like") return api.like(state.id, RESULTS, signal);
  if (state.kind === "image") {
    const most = limits.max_upload / 2 ** 20;
    if (state.file.size > limits.max_upload) throw new Error(`the image is too large: at most ${most.toFixed(1)} MB`);
    return api.searchImage(state.file, RESULTS, signal);
  }
  const typos = state.edits ? { edits: state.edits, seed: state.seed } : null;
  return api.search({ query: state.q, k: RESULTS, typos }, signal);
}

// ---- results ------------------------------------------------------------------------------------------------------

function show(answer) {
  const typos = answer.typos ?? null;
  const hits = typos ? typos.hits : answer.hits;
  queries.grid = state.kind === "text" ? { text: (typos ?? answer).query, misspelled: typos !== null } : null;
  queries.lost = { text: answer.query, misspelled: false };
  at("size").textContent = `${answer.images.toLocaleString()} images`;
  at("understood").replaceChildren(...chips(answer, typos));
  grid.show(hits);
  at("lost").hidden = !typos?.fell_out.length;
  lost.show(typos?.fell_out ?? []);
  heading(typos ? `Images for “${typos.query}”` : "");
  // With added typos the ranks are what one wants to see, close or not.
  fold(answer.close === false && !typos);
  message(hits.length ? "" : typos?.error ? "The model knows no word of the misspelled query." : "There are no results.");
  at("status").textContent = spoken(answer, typos, hits);
  land();
}

// Where no image is a close match, the nearest are folded away behind a button.
function fold(far) {
  at("far").hidden = !far;
  unfold(!far);
}

function unfold(shown) {
  at("grid").hidden = !shown;
  at("nearest").setAttribute("aria-expanded", String(shown));
  at("nearest").textContent = shown ? "Hide them" : "Show nearest anyway";
}

// Focuses the first result, or the button that shows it; false if there is none.
function focusFirst() {
  if (!at("grid").hidden) return grid.focusFirst();
  at("nearest").focus({ preventScroll: true });
  return true;
}

// A new search moves the focus to its first result, or to the box if there is none.
function land() {
  if (landing === null) return;
  const picked = landing === FIRST ? null : grid.cardOf(landing);
  landing = null;
  scrollTo(0, 0);
  if (picked) { unfold(true); picked.focus(); }
  else if (!focusFirst()) at("query").focus();
}

function chips(answer, typos) {
  if (state.kind === "text") return understood(answer, typos);
  const image = make("img", { alt: "", width: 32, height: 32 });
  image.addEventListener("error", () => image.remove());
  if (state.kind === "like") {
    api.showThumbnail(image, state.id);
    return [badge("Like", state.title, image, clear)];
  }
  api.showFile(image, state.file);
  return [badge("Like your image", state.file.name, image, clear)];
}

function clear() {
  begin({ kind: "text", q: "" });
  at("query").focus();
}

function spoken(answer, typos, hits) {
  const what = state.kind === "text" ? `for ${typos ? typos.query : answer.query}` : "like it";
  const language = isGuessed(answer.language) ? ` Language: ${answer.language.name}.` : "";
  const unknown = (typos ?? answer).unknown_words ?? [];
  const missed = unknown.length ? ` Not known: ${unknown.join(", ")}.` : "";
  const out = typos ? ` ${typos.fell_out.length} fell out.` : "";
  const best = hits.length ? ` First: ${titleOf(hits[0])}.` : "";
  const far = answer.close === false ? "No close match. " : "";
  return `${far}${hits.length} images ${what}.${language}${missed}${best}${out}`;
}

function refuse(line) {
  grid.show([]);
  lost.show([]);
  at("lost").hidden = true;
  heading("");
  fold(false);
  at("understood").replaceChildren(...(state.kind === "text" ? [] : chips({}, null)));
  message(line.charAt(0).toUpperCase() + line.slice(1));
  at("status").textContent = line;
  land();
}

function welcome() {
  refuse("");
  document.body.classList.remove("busy");
  const names = languageNames();
  const spoken = names.length > 1 ? `${names.slice(0, -1).join(", ")} or ${names.at(-1)}` : names[0] ?? "a language of the model";
  at("message").replaceChildren(
    make("p", { class: "lead" }, `Search in ${spoken}.`),
    make("p", { class: "quiet" }, "Or drop an image here, to search for similar ones."),
  );
  at("message").hidden = false;
}

const languageNames = () => (limits.languages ?? []).map(nameOf);

function hint() {
  const names = languageNames();
  if (names.length) at("query").placeholder = `Search in ${names.length > 2 ? `${names[0]}, ${names[1]} …` : names.join(" or ")}`;
}

function nameOf(code) {
  try { return new Intl.DisplayNames("en", { type: "language" }).of(code) ?? code; } catch { return code; }
}

// A quoted query may be written from right to left; isolate it from the rest of the line.
function isolated(line) {
  const parts = /^([^']*')(.*)(': .*)$/s.exec(line);
  return parts ? [parts[1], make("bdi", {}, parts[2]), parts[3]] : [line];
}

function message(line) {
  at("message").replaceChildren(...(line ? [make("p", { class: "lead" }, ...isolated(line))] : []));
  at("message").hidden = !line;
}

function heading(line) {
  at("heading").textContent = line;
  at("heading").hidden = !line;
}

// ---- the address --------------------------------------------------------------------------------------------------

function keepAddress() {
  const words = new URLSearchParams();
  if (state.kind === "text" && state.q) words.set("q", state.q);
  if (state.kind === "like") words.set("like", state.id);
  if (state.kind === "text" && state.edits) { words.set("typos", state.edits); words.set("seed", state.seed); }
  const hash = words.size ? `#${words}` : location.pathname;
  if (hash !== location.hash) history[state.kind === "like" ? "pushState" : "replaceState"](null, "", hash);
  document.title = state.kind === "text" && state.q ? `${state.q} · Kivuko` : "Kivuko";
}

async function readAddress(where = null) {
  const words = new URLSearchParams(location.hash.slice(1));
  const edits = Math.max(0, Math.min(3, Number.parseInt(words.get("typos") ?? "0", 10) || 0));
  const seed = Math.max(0, Math.min(2 ** 31 - 1, Number.parseInt(words.get("seed") ?? "1", 10) || 0));
  showTypos(edits);
  const like = words.get("like");
  if (like !== null && /^\d{1,18}$/.test(like)) {
    let title = `image ${like}`;
    try { title = titleOf(await api.item(like)); } catch { /* the search will say */ }
    begin({ kind: "like", id: like, title, edits, seed }, where);
  } else begin({ kind: "text", q: (words.get("q") ?? "").slice(0, 500), edits, seed }, where);
}

// ---- events -----------------------------------------------------------------------------------------------

function showTypos(edits) {
  at("typos-on").checked = edits > 0;
  at("typo-options").hidden = edits === 0;
  if (edits) document.querySelector(`input[name=edits][value="${edits}"]`).checked = true;
}

at("query").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(() => begin({ kind: "text", q: at("query").value }), PAUSE_MS);
});
at("query").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") { event.preventDefault(); focusFirst(); }
});
at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  scrollTo(0, 0);
  if (at("query").value || state.kind === "text") begin({ kind: "text", q: at("query").value });
});
at("typos-on").addEventListener("change", (event) => {
  const edits = event.target.checked ? Number(document.querySelector("input[name=edits]:checked").value) : 0;
  showTypos(edits);
  begin({ edits });
});
for (const choice of document.querySelectorAll("input[name=edits]")) {
  choice.addEventListener("change", () => begin({ edits: Number(choice.value) }));
}
at("nearest").addEventListener("click", () => unfold(at("grid").hidden));
at("again").addEventListener("click", () => begin({ seed: (state.seed + 1) % 2 ** 31 }));

function upload(file) {
  if (!file) return;
  begin({ kind: "image", file }, FIRST);
}
at("upload").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => { upload(at("file").files[0]); at("file").value = ""; });

let dragged = 0;
const carriesFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", (event) => { if (carriesFile(event)) { dragged += 1; at("drop").hidden = false; } });
addEventListener("dragleave", (event) => { if (carriesFile(event) && --dragged <= 0) { dragged = 0; at("drop").hidden = true; } });
addEventListener("dragover", (event) => { if (carriesFile(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  dragged = 0;
  at("drop").hidden = true;
  upload(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => upload([...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"))));

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return; // it closes itself
  const typing = event.target.matches?.("input:not([type=checkbox]):not([type=radio]), textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    at("query").focus();
    at("query").select();
  }
  if (event.key === "Escape" && !event.isComposing) { event.preventDefault(); clear(); }
});
addEventListener("popstate", (event) => readAddress(event.state?.picked ?? FIRST));

// ---- an unreachable server, an API key -----------------------------------------------------------------

api.onUnreachable(async () => {
  if (offline) return;
  offline = true;
  at("offline").hidden = false;
  while (!(await api.isWell())) await new Promise((resolve) => setTimeout(resolve, 1500));
  offline = false;
  at("offline").hidden = true;
  if (limits.images === undefined) await start();
  else run();
});
setInterval(async () => { if (!offline && !document.hidden && !(await api.isWell())) api.about().catch(() => {}); }, 10_000);

let entering = null;
api.onKeyNeeded((again) => {
  at("key-wrong").hidden = !again;
  entering ??= new Promise((resolve) => {
    at("key-dialog").addEventListener("cancel", (event) => event.preventDefault());
    at("key-form").addEventListener("submit", () => {
      api.keepKey(at("key-field").value.trim());
      entering = null;
      resolve();
    }, { once: true });
    at("key-dialog").showModal();
  });
  return entering;
});

async function start() {
  // Search for text typed before this script was loaded, without waiting for /api/about.
  if (!location.hash && at("query").value) begin({ kind: "text", q: at("query").value });
  else readAddress();
  try {
    limits = await api.about();
  } catch {
    return; // the caller shows it
  }
  at("size").textContent = `${limits.images.toLocaleString()} images`;
  hint();
  if (state.kind === "text" && !state.q.trim()) welcome();
}
start();
