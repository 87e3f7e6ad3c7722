// A transport plan as a table: words of the query down the side, English words along the top.

import { make } from "./grid.js";

export function planTable(plan) {
  const head = make("tr", {}, make("td"), ...plan.english_words.map((word) => make("th", { scope: "col" }, make("span", { dir: "auto" }, word))));
  const rows = plan.words.map((word, row) => {
    const shares = plan.shares[row];
    const most = Math.max(...shares.map((share) => share ?? 0));
    const cells = shares.map((share) => {
      const cell = make("td", { class: share !== null && share === most && most > 0 ? "most" : null });
      cell.style.setProperty("--share", (share ?? 0).toFixed(3));
      if ((share ?? 0) > 0.5) cell.classList.add("strong");
      cell.append(share === null ? "–" : share < 0.005 ? "" : `${Math.round(share * 100)}`);
      if (share !== null && share < 0.005) cell.append(make("span", { class: "hidden" }, "0"));
      return cell;
    });
    return make("tr", {}, make("th", { scope: "row", dir: "auto" }, word), ...cells);
  });
  const caption = make("caption", { class: "hidden" }, `Token alignment of “${plan.query}” with “${plan.english}”, in percent`);
  return make("div", { class: "plan-scroll", tabindex: 0, role: "group", "aria-label": "Alignment" },
    make("table", { class: "plan" }, caption, make("thead", {}, head), make("tbody", {}, ...rows)));
}
