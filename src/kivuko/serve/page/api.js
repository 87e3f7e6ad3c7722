// Requests to the server, and its errors.

const KEY = "kivuko-key";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Unreachable extends Error {}

const hearers = { unreachable: () => {}, keyNeeded: async () => {} };

export function onUnreachable(hear) { hearers.unreachable = hear; }
export function onKeyNeeded(hear) { hearers.keyNeeded = hear; }
export function keepKey(key) { sessionStorage.setItem(KEY, key); }
export function hasKey() { return sessionStorage.getItem(KEY) !== null; }

function headers(more) {
  const key = sessionStorage.getItem(KEY);
  return key === null ? more : { ...more, "X-API-Key": key };
}

async function ask(path, { signal, method = "GET", json, form } = {}) {
  const options = { method, signal, headers: headers(json ? { "Content-Type": "application/json" } : {}) };
  if (json) options.body = JSON.stringify(json);
  if (form) options.body = form;
  for (;;) {
    let answer;
    try {
      answer = await fetch(path, options);
    } catch (problem) {
      if (problem.name === "AbortError") throw problem;
      hearers.unreachable();
      throw new Unreachable("the server does not answer");
    }
    if (answer.status === 401) {
      await hearers.keyNeeded(hasKey());
      options.headers = headers(json ? { "Content-Type": "application/json" } : {});
      continue;
    }
    if (answer.ok) return answer;
    let line = `the server refused (${answer.status})`;
    try { line = (await answer.json()).error ?? line; } catch { /* not JSON: a proxy's page */ }
    throw new Refused(answer.status, line);
  }
}

const json = async (answer) => (await answer).json();

export const about = () => json(ask("/api/about"));
export const search = (request, signal) => json(ask("/api/search", { method: "POST", json: request, signal }));
export const like = (id, k, signal) => json(ask(`/api/items/${id}/like?k=${k}`, { signal }));
export const item = (id, signal) => json(ask(`/api/items/${id}`, { signal }));
export const align = (request, signal) => json(ask("/api/align", { method: "POST", json: request, signal }));

export function searchImage(file, k, signal) {
  const form = new FormData();
  form.append("image", file, file.name || "image");
  return json(ask(`/api/search/image?k=${k}`, { method: "POST", form, signal }));
}

export async function isWell() {
  try {
    return (await fetch("/health", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

// A local file as an image URL.
export function showFile(image, file) {
  const url = URL.createObjectURL(file);
  for (const end of ["load", "error"]) image.addEventListener(end, () => URL.revokeObjectURL(url), { once: true });
  image.src = url;
}

// An <img> cannot send a key, so with one the bytes are fetched and shown from memory.
export async function showThumbnail(image, id) {
  const path = `/api/items/${id}/thumbnail`;
  if (!hasKey()) {
    image.src = path;
    return;
  }
  try {
    const bytes = await (await ask(path)).blob();
    const url = URL.createObjectURL(bytes);
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    image.src = url;
  } catch { /* the grid says what is wrong, not each image */ }
}
