// The score card: a period of days, its tables, print and CSV, in the dialog.

import { get, Refused } from "./api";
import { present } from "./dialogs";
import { h } from "./dom";
import { count, number, span } from "./format";
import type { ScoreCard, ScoreLine } from "./records";
import { named, t, tOr, typeName, type Word } from "./text";

const GROUPS: [string, Word][] = [["type", "scoreType"], ["district", "scoreDistrict"], ["street", "scoreStreet"], ["department", "scoreDepartment"]];
const STAGES: [string, Word][] = [["dispatch", "scoreDispatch"], ["accept", "scoreAccept"], ["handle", "scoreHandle"], ["verify", "scoreVerify"], ["whole", "scoreWhole"]];

const share = (part: number | null): string => (part === null ? t("none") : `${Math.round(part * 100)} %`);
const took = (seconds: number | null | undefined): string => (seconds === null || seconds === undefined ? t("none") : span(seconds * 1000));
const cell = (text: string): HTMLElement => h("td", { class: "n" }, text);
const heads = (...words: Word[]): HTMLElement => h("thead", {}, h("tr", {}, ...words.map((word, i) => h("th", { scope: "col", class: i ? "n" : null }, t(word)))));

function row(name: string, line: ScoreLine): HTMLElement {
  const figures = [count(line.cases), count(line.open), share(line.share_in_time), count(line.late), count(line.reopened), count(line.false)];
  return h("tr", {}, h("th", { scope: "row" }, name), ...figures.map(cell), ...STAGES.map(([stage]) => cell(took(line.median_s[stage]))));
}

function lines(card: ScoreCard, group: string, title: Word): HTMLElement {
  const name = (line: ScoreLine): string => (group === "type" ? typeName(line.key) : named(card.names[group]?.[line.key], line.key || t("scoreUnsent")));
  const columns = heads("scoreKey", "scoreCases", "scoreOpenCases", "scoreInTime", "scoreLate", "scoreReopened", "scoreFalse", ...STAGES.map(([, word]) => word));
  const body = h("tbody", {}, ...(card.by[group] ?? []).map((line) => row(name(line), line)), row(t("scoreTotal"), card.total));
  return h("table", { class: "score" }, h("caption", {}, t(title)), columns, body);
}

function judged(card: ScoreCard): HTMLElement {
  const told = card.judged.map((one) => h("tr", {}, h("th", { scope: "row" }, tOr(`judge_${one.judge}`, one.judge)), cell(count(one.count)), cell(number(one.mean_score)), cell(count(one.false))));
  return h("table", { class: "score" }, h("caption", {}, t("scoreJudged")), heads("scoreKey", "scoreCases", "scoreMean", "scoreFalse"), h("tbody", {}, ...told));
}

function repeated(card: ScoreCard): HTMLElement {
  const kinds = (types: Record<string, number>): string => Object.entries(types).map(([type, n]) => `${typeName(type)} ${n}`).join(", ");
  const told = card.offenders.map((one) => h("tr", {}, h("th", { scope: "row" }, one.subject), cell(one.company || t("none")), cell(count(one.cases)), cell(kinds(one.types))));
  return h("table", { class: "score" }, h("caption", {}, t("scoreRepeat")), heads("subject", "scoreOwner", "scoreCases", "scoreTypes"), h("tbody", {}, ...told));
}

function tables(card: ScoreCard): HTMLElement[] {
  if (!card.total.cases) return [h("p", {}, t("scoreNone"))];
  const told = GROUPS.map(([group, title]) => lines(card, group, title));
  if (card.judged.some((one) => one.count)) told.push(judged(card));
  if (card.offenders.length) told.push(repeated(card));
  return [h("p", { class: "more" }, t("scoreMedians")), ...told, h("p", { class: "more" }, t("scoreChildren", count(card.children)))];
}

/** Open the score card of the last thirty days; other days can be chosen in it. */
export async function showScores(failed: (error: unknown) => void): Promise<void> {
  const card = await get<ScoreCard>("/api/score");
  present(t("scoreCard"), (shut) => {
    const day = (id: string, value: string): HTMLInputElement => h("input", { id, type: "date", value, required: true });
    const [from, to] = [day("scorefrom", card.first), day("scoreto", card.last)];
    const body = h("div", { class: "scroll scores", tabindex: "0", role: "region", "aria-label": t("scoreCard") }, ...tables(card));
    const file = h("a", { id: "scorecsv", class: "button", download: "" }, t("scoreCsv"));
    const note = h("p", { role: "alert", class: "more" });
    const query = (): string => `?from=${encodeURIComponent(from.value)}&to=${encodeURIComponent(to.value)}`;
    file.href = `/api/score.csv${query()}`;
    const ask = async (): Promise<void> => {
      try {
        body.replaceChildren(...tables(await get<ScoreCard>(`/api/score${query()}`)));
        file.href = `/api/score.csv${query()}`;
        note.textContent = "";
      } catch (error) {
        if (!(error instanceof Refused) || error.status !== 422) throw error;
        note.textContent = error.detail;
      }
    };
    const form = h(
      "form",
      { class: "days" },
      h("label", {}, t("scoreFrom"), from),
      h("label", {}, t("scoreTo"), to),
      h("button", { type: "submit", class: "primary", id: "scoreshow" }, t("scoreShow")),
      h("button", { type: "button", onclick: () => print() }, t("scorePrint")),
      file,
      h("button", { type: "button", onclick: shut }, t("shut")),
    );
    form.onsubmit = (event) => {
      event.preventDefault();
      ask().catch(failed);
    };
    return [form, note, body];
  });
}
