// The documentation of the API, from /openapi.json.

import { make } from "./grid.js";

const at = (id) => document.getElementById(id);

function nameOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(nameOf).join(" or ");
  if (schema.type === "array") return `list of ${nameOf(schema.items)}`;
  return schema.type ?? "";
}

const limitsOf = (schema) => ["minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "default"]
  .filter((name) => schema?.[name] !== undefined).map((name) => `${name} ${JSON.stringify(schema[name])}`).join(", ");

function table(rows) {
  return make("table", { class: "fields" }, make("tbody", {}, ...rows.map(([name, schema, required, said]) => make("tr", {},
    make("th", { scope: "row" }, make("code", {}, name), required ? "" : make("span", { class: "quiet" }, " optional")),
    make("td", {}, nameOf(schema)), make("td", { class: "quiet" }, [said ?? schema?.description, limitsOf(schema)].filter(Boolean).join(" · "))))));
}

function fieldsOf(schema, all) {
  const real = schema?.$ref ? all[nameOf(schema)] : schema;
  return Object.entries(real?.properties ?? {}).map(([name, own]) => [name, own, (real.required ?? []).includes(name)]);
}

function operation(method, path, description, all) {
  const body = Object.entries(description.requestBody?.content ?? {})[0];
  const takes = [...(description.parameters ?? []).map((one) => [one.name, one.schema, one.required, one.description]), ...fieldsOf(body?.[1].schema, all)];
  const answer = Object.entries(description.responses["200"]?.content ?? {})[0];
  const gives = fieldsOf(answer?.[1].schema, all);
  const refusals = Object.entries(description.responses).filter(([status]) => status >= "400").map(([status, one]) => `${status} ${one.description}`);
  return make("details", { class: "operation" },
    make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), make("code", {}, path), make("span", { class: "quiet" }, description.summary ?? "")),
    takes.length ? make("h3", {}, `Takes${body ? ` (${body[0]})` : ""}`) : null, takes.length ? table(takes) : null,
    make("h3", {}, `Answers (${answer?.[0] ?? "nothing"})`), gives.length ? table(gives) : null,
    refusals.length ? make("p", { class: "quiet" }, `Refusals, as {"error": "one line"}: ${refusals.join(" ")}`) : null);
}

try {
  const key = sessionStorage.getItem("kivuko-key");
  const answer = await fetch("/openapi.json", { headers: key ? { "X-API-Key": key } : {} });
  if (!answer.ok) throw new Error((await answer.json()).error);
  const description = await answer.json();
  at("lead").textContent = description.info.description;
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, own] of Object.entries(methods)) at("operations").append(operation(method, path, own, description.components.schemas));
  }
} catch (problem) {
  at("problem").textContent = `The description cannot be shown: ${problem.message}`;
  at("problem").hidden = false;
}
