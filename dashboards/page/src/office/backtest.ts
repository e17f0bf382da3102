// A back-test: other rules over a stored period, as a job of the server; what would have been gained, lost, sooner, later.

import { get, post, removed } from "../api";
import { h } from "../dom";
import { form, labelled, once, select, table } from "../forms";
import { count, dayTime, fromWall, number, span, wall } from "../format";
import { sentence, spoken, t, tOr, typeName, type Word } from "../text";
import { deviceLink } from "./links";
import type { Office } from "./section";

interface Whistle {
  type: string;
  subject: string;
  at_ms: number;
  severity: number;
  en: string;
  zh: string;
  by_s?: number;
}

interface Result {
  same: number;
  today: number;
  other: number;
  readings: number;
  learnt_from_ms: number;
  gained: Whistle[];
  lost: Whistle[];
  earlier: Whistle[];
  later: Whistle[];
  counts?: Record<string, number>;
}

interface Job {
  id: string;
  state: "none" | "copying" | "learning" | "comparing" | "done" | "failed" | "cancelled";
  share: number;
  detail: string;
  actor: string;
  from_ms?: number;
  to_ms?: number;
  rules?: Tables;
  result: Result | null;
}

type Tables = Record<string, Record<string, unknown>>;

const RUNS = ["copying", "learning", "comparing"];
const ASK_MS = 1500;
const DAY = 86_400_000;

export async function backtest(office: Office): Promise<Node[]> {
  const [job, rules] = await Promise.all([get<Job>("/api/backtest"), get<{ rules: Tables; overrides: Tables }>("/api/rules")]);
  const place = h("div", { id: "backtest" });
  let timer = 0;
  const later = (ms: number): void => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void watch().catch(() => later(5 * ASK_MS)), ms);
  };
  const watch = async (): Promise<void> => {
    if (place.isConnected) show(await get<Job>("/api/backtest"));
  };
  const show = (now: Job): void => {
    place.replaceChildren(...standing(office, now, show));
    clearTimeout(timer);
    if (RUNS.includes(now.state)) later(ASK_MS);
  };
  show(job);
  return [h("p", { class: "more" }, t("backtestNote")), place, h("details", { open: job.state === "none" }, h("summary", {}, t("backtestNew")), ask(office, rules, show))];
}

function standing(office: Office, job: Job, show: (job: Job) => void): Node[] {
  if (job.state === "none") return [h("p", {}, t("backtestNone"))];
  const period = job.from_ms && job.to_ms ? `${dayTime(job.from_ms)} – ${dayTime(job.to_ms)}` : "";
  const changed = Object.entries(job.rules ?? {}).map(([name, one]) => `${typeName(name)}: ${Object.entries(one).map(([key, value]) => `${key} ${String(value)}`).join(", ")}`);
  const head = h("p", {}, h("b", {}, tOr(`backtest_${job.state}`, job.state)), [period, job.actor, ...changed].filter(Boolean).map((text) => ` · ${text}`).join(""));
  if (RUNS.includes(job.state)) {
    const bar = h("progress", { max: "1", value: String(job.share), "aria-label": t("backtestProgress") });
    const cancel = once(t("backtestCancel"), async () => show(await removed<Job>("/api/backtest")));
    return [head, h("div", { class: "progress" }, bar, h("span", {}, `${number(job.share * 100, 0)} %`), cancel)];
  }
  if (job.state !== "done" || !job.result) return job.detail ? [head, h("p", { class: "trouble" }, job.detail)] : [head];
  return [head, ...result(office, job.result)];
}

function result(office: Office, told: Result): Node[] {
  const lists: [Word, Whistle[], number][] = (["gained", "lost", "earlier", "later"] as const).map((name) => [`backtest_${name}` as Word, told[name], told.counts?.[name] ?? told[name].length]);
  const facts = h("p", {}, t("backtestSaid", count(told.today), count(told.other), count(told.same), count(told.readings)));
  const tiles = h("ul", { class: "tiles" }, ...lists.map(([word, , n]) => h("li", {}, h("b", {}, count(n)), t(word))));
  const part = ([word, list, n]: (typeof lists)[number]): Node[] => {
    if (!n) return [];
    const by = (one: Whistle): string => (one.by_s === undefined ? "" : span(Math.abs(one.by_s) * 1000));
    const rows = list.map((one) => [dayTime(one.at_ms), typeName(one.type), deviceLink(office, one.subject), sentence(one), by(one)]);
    const heads = [t("time"), t("caseType"), t("subject"), t("detail"), list.some((one) => one.by_s !== undefined) ? t("byHowMuch") : ""];
    return [h("h4", {}, `${t(word)} (${count(n)})`), table(heads, rows, t(word)), ...(n > list.length ? [h("p", { class: "more" }, t("andMore", count(n - list.length)))] : [])];
  };
  return [facts, tiles, ...lists.flatMap(part)];
}

/** Period, days to learn from, and the rules: changed here type by type, or a whole rules.toml. */
function ask(office: Office, known: { rules: Tables; overrides: Tables }, show: (job: Job) => void): HTMLElement {
  const now = office.now();
  const from = h("input", { id: "backtestfrom", type: "datetime-local", required: true, value: wall(now - DAY) });
  const to = h("input", { id: "backtestto", type: "datetime-local", required: true, value: wall(now) });
  const learn = h("input", { id: "backtestlearn", type: "number", min: "0", max: "366", step: "0.5", required: true, value: "7" });
  const file = h("input", { id: "backtestfile", type: "file", accept: ".toml,text/plain" });
  const chosen: Tables = structuredClone(known.overrides);
  const names = Object.keys(known.rules).map((value) => ({ value, text: typeName(value) })).sort((a, b) => a.text.localeCompare(b.text, spoken()));
  const type = select(names, names[0]?.value ?? "", { id: "backtesttype" });
  const fields = h("div", { class: "pair" });
  const list = h("ul", { class: "changes", id: "backtestchanges" });
  const changes = (): void => {
    const rows = Object.entries(chosen).flatMap(([name, one]) => Object.entries(one).map(([key, value]) => [name, key, value] as const));
    const row = ([name, key, value]: (typeof rows)[number]): HTMLElement => {
      const drop = (): void => {
        delete chosen[name]![key];
        if (!Object.keys(chosen[name]!).length) delete chosen[name];
        changes();
        draw();
      };
      return h("li", {}, `${typeName(name)}: ${key} = ${typeof value === "object" ? JSON.stringify(value) : String(value)} `, h("button", { type: "button", class: "quiet", onclick: drop, "aria-label": `${t("drop")}: ${name} ${key}` }, "✕"));
    };
    list.replaceChildren(...(rows.length ? rows.map(row) : [h("li", { class: "more" }, t("backtestSameRules"))]));
  };
  const draw = (): void => {
    const numeric = Object.entries(known.rules[type.value] ?? {}).filter(([, value]) => typeof value === "number");
    const field = ([key, value]: [string, unknown]): HTMLElement => {
      const input = h("input", { type: "number", step: "any", value: String(chosen[type.value]?.[key] ?? value) });
      input.onchange = () => {
        if (input.value === "" || Number(input.value) === value) delete chosen[type.value]?.[key];
        else (chosen[type.value] ??= {})[key] = Number(input.value);
        changes();
      };
      return labelled(key, input, t("inForce", number(value as number, 4, 0)));
    };
    fields.replaceChildren(...(numeric.length ? numeric.map(field) : [h("p", { class: "more" }, t("backtestNoNumbers"))]));
  };
  type.onchange = draw;
  draw();
  changes();
  const act = async (): Promise<void> => {
    const picked = file.files?.[0];
    const what = picked ? { toml: await picked.text() } : { rules: chosen };
    show(await post<Job>("/api/backtest", { ...what, from_ms: fromWall(from.value), to_ms: fromWall(to.value), learn_days: Number(learn.value) }, null));
  };
  return form(
    [
      h("div", { class: "pair" }, labelled(t("scoreFrom"), from, t("cityTime")), labelled(t("quietUntil"), to, t("cityTime")), labelled(t("learnDays"), learn, t("learnNote"))),
      labelled(t("backtestType"), type),
      fields,
      h("p", { class: "more" }, t("backtestChanges")),
      list,
      labelled(t("backtestFile"), file, t("backtestFileNote")),
    ],
    t("backtestStart"),
    act,
  );
}
