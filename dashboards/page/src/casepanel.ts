// One case: what it says, where it stands, why, what was done and what was sent.

import { get, Refused } from "./api";
import { Chart } from "./chart";
import { h } from "./dom";
import { count, dayTime, number, span, unitName } from "./format";
import { severityIcon } from "./icons";
import { once } from "./forms";
import { departmentName, ENDED } from "./queue";
import type { Case, City, Delivery, Earlier, Series, Step } from "./records";
import { askStep, type Desk, stepButtons, stepWord } from "./steps";
import { named, reasonName, sentence, stateName, stepName, t, tOr, typeName, type Word } from "./text";

const STAGES = ["found", "filed", "dispatched", "accepted", "closed"];
const REACHED: Record<string, number> = { found: 0, filed: 1, dispatched: 2, accepted: 3, handled: 3, verified: 3, closed: 4, evaluated: 4, cancelled: 4 };
const MOST_CHILDREN = 200;

export interface CaseActs {
  accept(one: Case): void;
  close(one: Case): void;
  resend(one: Case, key: string): Promise<void>;
  leave(): void;
  device(id: string): void;
  openCase(id: string): void;
  known(id: string): boolean;
  failed(error: unknown): void;
  steps: Desk;
}

export interface Known {
  case: Case;
  history: Step[];
  deliveries: Delivery[];
  children: Case[];
  earlier: Earlier[];
}

/** Everything about a case, or null when it is unknown. */
export async function fetchCase(id: string): Promise<Known | null> {
  const path = `/api/cases/${encodeURIComponent(id)}`;
  try {
    const [one, history, deliveries] = await Promise.all([get<Case & { earlier?: Earlier[] }>(path), get<Step[]>(`${path}/history`), get<Delivery[]>(`${path}/deliveries`)]);
    const children = one.children ? await get<Case[]>(`${path}/children?limit=${MOST_CHILDREN}`) : [];
    return { case: one, history, deliveries, children, earlier: one.earlier ?? [] };
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

/** Fill the panel with a case. */
export function drawCase(panel: HTMLElement, known: Known, city: City, nowMs: number, acts: CaseActs): void {
  const { case: one } = known;
  const level = Math.min(4, Math.max(1, one.severity));
  const parts: (HTMLElement | null)[] = [
    h(
      "div",
      { class: "head" },
      h("span", { class: "icon" }, severityIcon(one.severity, 22)),
      h("h2", {}, typeName(one.type)),
      h("span", { class: `sev sev${level}` }, t(`severity${level}` as Word)),
      h("button", { type: "button", class: "quiet", "aria-label": t("back"), onclick: acts.leave }, "✕"),
    ),
    h("section", {}, h("p", { class: "said" }, sentence(one)), stages(one), buttons(known, acts)),
    h("section", {}, facts(one, city, nowMs, acts)),
    charted(one, city, nowMs, acts),
    evidence(one, city),
    childrenOf(known, acts),
    earlierOf(known, acts),
    historyOf(known),
    deliveriesOf(known, acts),
  ];
  const again = panel.dataset["case"] === one.id;
  const held = again && panel.contains(document.activeElement) ? holdOf(document.activeElement as HTMLElement) : "";
  const opened = again && panel.querySelector<HTMLDetailsElement>(".othersteps")?.open === true;
  panel.replaceChildren(...parts.filter((part) => part !== null));
  panel.dataset["case"] = one.id;
  const others = panel.querySelector<HTMLDetailsElement>(".othersteps");
  if (others) others.open = opened;
  if (held) (panel.querySelector<HTMLElement>(held) ?? panel).focus({ preventScroll: true });
}

/** How to find what holds the focus once the panel has been drawn anew. */
function holdOf(element: HTMLElement): string {
  if (element.id) return `#${CSS.escape(element.id)}`;
  const step = element.dataset["step"];
  return step ? `[data-step="${CSS.escape(step)}"]` : element.tagName === "SUMMARY" ? ".othersteps summary" : "#panel-itself";
}

function stages(one: Case): HTMLElement {
  const reached = REACHED[one.state] ?? 0;
  return h(
    "ol",
    { class: "steps" },
    ...STAGES.map((stage, i) => {
      const shown = i === reached ? one.state : stage;
      const sort = i < reached ? "done" : i === reached ? "done now" : "";
      return h("li", { class: sort, "aria-current": i === reached ? "step" : null }, tOr(`state_${shown}`, shown));
    }),
  );
}

function buttons(known: Known, acts: CaseActs): HTMLElement | null {
  const one = known.case;
  const asked = known.history.findLast((step) => ["extend", "approve", "deny", "dispatch", "transfer"].includes(step.event));
  const wished = asked?.event === "extend" ? asked : null;
  const can = (one.can ?? []).filter((verb) => wished || (verb !== "approve" && verb !== "deny"));
  const main = can.includes("accept") ? "accept" : one.state === "filed" && can.includes("dispatch") ? "dispatch" : can.includes("close") ? "close" : can.includes("handle") ? "handle" : "";
  const key = (letter: string): HTMLElement => h("kbd", { "aria-hidden": "true" }, letter);
  const button = (verb: string): HTMLElement => {
    const sort = verb === main ? "primary" : "";
    if (verb === "accept") return h("button", { type: "button", class: sort, id: "accept", onclick: () => acts.accept(one) }, t("accept"), key("a"));
    if (verb === "close") return h("button", { type: "button", class: sort, id: "close", onclick: () => acts.close(one) }, t("close"), key("c"));
    return h("button", { type: "button", class: sort, "data-step": verb, onclick: () => askStep(one, verb, acts.steps) }, `${stepWord(verb)}…`);
  };
  const answers = wished ? ["approve", "deny"].filter((verb) => can.includes(verb)) : [];
  const shown = [...new Set([main, ...(can.includes("close") && one.state !== "filed" ? ["close"] : [])])].filter(Boolean);
  const hours = Number(wished?.evidence?.["extra_s"] ?? 0);
  const wish = wished ? h("p", { class: "waits" }, t("askedFor", span(hours * 1000), wished.reason)) : null;
  const waits = one.state === "found" ? t("waitsFound") : one.state === "filed" && !one.parent ? t("waitsFiled") : "";
  const others = stepButtons({ ...one, can }, [...shown, ...answers], acts.steps);
  if (!waits && !shown.length && !others && !wish) return null;
  return h("div", {}, wish, answers.length ? h("div", { class: "acts" }, ...answers.map(button)) : null, waits ? h("p", { class: "more waits" }, waits) : null, shown.length ? h("div", { class: "acts" }, ...shown.map(button)) : null, others);
}

function facts(one: Case, city: City, nowMs: number, acts: CaseActs): HTMLElement {
  const where = acts.known(one.subject)
    ? h("button", { type: "button", class: "link", onclick: () => acts.device(one.subject) }, one.subject)
    : h("span", {}, one.subject);
  const left = one.deadline_ms - nowMs;
  const deadline = one.deadline_ms ? `${dayTime(one.deadline_ms)}` : t("none");
  const due = one.deadline_ms && !ENDED.includes(one.state) ? (left >= 0 ? t("due", span(left)) : t("overdue", span(-left))) : "";
  const pairs: [string, (Node | string)[]][] = [
    [t("subject"), [where, ` ${named(city.kinds[one.subject_kind], tOr(one.subject_kind, one.subject_kind))}`]],
    [t("department"), [one.department ? departmentName(city, one.department) : t("none")]],
    [t("opened"), [dayTime(one.opened_ms), " · ", t("ago", span(nowMs - one.opened_ms))]],
    [t("since"), [dayTime(one.since_ms)]],
    [t("deadline"), [deadline, due ? " · " : "", h("span", { class: left < 0 ? "late" : "" }, due)]],
  ];
  for (const party of one.joined ?? []) {
    const last = party.event ? `${stepName(party.event)} · ${dayTime(party.at_ms)}` : t("noAnswerYet");
    pairs.push([t(`party_${party.why}`), [departmentName(city, party.department), h("span", { class: "more" }, ` · ${last}`)]]);
  }
  if (one.returned_by?.length) pairs.push([t("returnedBy"), [one.returned_by.map((id) => departmentName(city, id)).join(", ")]]);
  if (one.parent) {
    pairs.push([t("parent"), [h("button", { type: "button", class: "link", onclick: () => acts.openCase(one.parent) }, one.parent)]]);
  }
  const notes = [one.active ? t("stillActive") : t("notActive"), one.past ? t("past") : ""].filter(Boolean).join(" · ");
  pairs.push(["", [h("span", { class: one.active ? "" : "muted" }, notes)]]);
  return h("dl", { class: "pairs" }, ...pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, ...value)]));
}

const BEFORE_MS = 3 * 3_600_000; // shown before the first evidence, so that the eye sees what is usual
const LONGEST_MS = 7 * 24 * 3_600_000;

/** The quantity that the case is about, from some hours before its first evidence until now. */
function charted(one: Case, city: City, nowMs: number, acts: CaseActs): HTMLElement | null {
  const quantity = city.kinds[one.subject_kind]?.quantities.find((q) => q.name === one.evidence["quantity"]);
  if (!quantity || quantity.role === "position" || !acts.known(one.subject)) return null;
  const canvas = h("canvas", { class: "chart", role: "img", "aria-label": t("loading") });
  const readout = h("p", { class: "readout" });
  const chart = new Chart(canvas, readout);
  const end = Math.round(nowMs);
  const start = Math.max(end - LONGEST_MS, Math.min(one.since_ms, end) - BEFORE_MS);
  const path = `/api/devices/${encodeURIComponent(one.subject)}/series?quantity=${encodeURIComponent(quantity.name)}&start_ms=${Math.round(start)}&end_ms=${end}&points=400`;
  get<Series>(path).then((series) => chart.show(series, quantity, start, end, one.since_ms), acts.failed);
  const unit = unitName(quantity.unit);
  return h("section", { class: "charted" }, h("h3", {}, `${t("evidenceChart")}: ${named(quantity, quantity.name)}${unit ? ` (${unit})` : ""}`), canvas, readout);
}

/** A piece of evidence as text: numbers short, lists joined, objects as their pairs. */
function told(value: unknown): string {
  if (value === null || value === undefined) return t("none");
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (typeof value === "number") return Number.isInteger(value) && value > 1e12 ? dayTime(value) : number(value, 3, 0);
  if (Array.isArray(value)) return value.slice(0, 20).map(told).join(", ");
  if (typeof value === "object") return Object.entries(value as object).map(([k, v]) => `${tOr(k, reasonName(k))} ${told(v)}`).join(", ");
  return String(value);
}

function evidence(one: Case, city: City): HTMLElement | null {
  const first = ["quantity", "observed", "expected", "low", "high"];
  const rank = (name: string): number => (first.includes(name) ? first.indexOf(name) : first.length);
  const bounds = [one.evidence["low"], one.evidence["high"]];
  const twice = (name: string, value: unknown): boolean => ["since_ms", "lon", "lat"].includes(name) || (name === "detector" && value === one.type) || (name === "limit" && bounds.includes(value));
  const given = Object.entries(one.evidence).filter(([name, value]) => !twice(name, value)).sort(([a], [b]) => rank(a) - rank(b));
  if (given.length === 0) return null;
  const quantity = city.kinds[one.subject_kind]?.quantities.find((q) => q.name === one.evidence["quantity"]);
  const line = ([name, value]: [string, unknown]): HTMLElement[] => {
    const state = quantity?.role === "state" && typeof value === "number" ? quantity.states[value] : undefined;
    const measured = quantity && state === undefined && typeof value === "number" && ["observed", "expected", "low", "high"].includes(name);
    const text = name === "quantity" && quantity ? named(quantity, quantity.name) : state !== undefined && first.includes(name) ? stateName(state) : told(value);
    if (name === "detector") return [h("dt", {}, t("detector")), h("dd", {}, typeName(String(value)))];
    return [h("dt", {}, tOr(name, name.replaceAll("_", " "))), h("dd", {}, measured ? `${text} ${unitName(quantity.unit)}` : text)];
  };
  return h("section", {}, h("h3", {}, t("evidence")), h("dl", { class: "pairs" }, ...given.flatMap(line)));
}

function childrenOf(known: Known, acts: CaseActs): HTMLElement | null {
  if (known.children.length === 0) return null;
  const row = (child: Case): HTMLElement =>
    h(
      "li",
      {},
      acts.known(child.subject)
        ? h("button", { type: "button", class: "link", onclick: () => acts.device(child.subject) }, child.subject)
        : h("span", {}, child.subject),
      h("span", { class: "more" }, `${typeName(child.type)} · ${tOr(`state_${child.state}`, child.state)}`),
    );
  return h("section", {}, h("h3", {}, t("childrenTitle", count(known.case.children))), h("ul", { class: "rowlist" }, ...known.children.map(row)));
}

/** Cases of the same type on the same subject or company not long before: the same trouble, or offender, again. */
function earlierOf(known: Known, acts: CaseActs): HTMLElement | null {
  if (known.earlier.length === 0) return null;
  const row = (one: Earlier): HTMLElement =>
    h(
      "li",
      {},
      h("time", {}, dayTime(one.opened_ms)),
      h("button", { type: "button", class: "link", onclick: () => acts.openCase(one.id) }, one.id),
      h("span", { class: "more" }, `${one.subject} · ${tOr(`state_${one.state}`, one.state)}`),
    );
  return h("section", {}, h("h3", {}, t("earlierTitle", count(known.earlier.length))), h("ul", { class: "rowlist" }, ...known.earlier.map(row)));
}

/** The picture that a step attached, as a link to its whole size. */
function photoOf(one: Case, step: Step): HTMLElement | null {
  const { media_type: type, sha256 } = step.evidence ?? {};
  if (step.event !== "attach" || type !== "image/jpeg" || typeof sha256 !== "string" || !/^[0-9a-f]{64}$/.test(sha256)) return null;
  const path = `/api/cases/${encodeURIComponent(one.id)}/photos/${sha256}`;
  const alt = t("photoOf", dayTime(step.at_ms));
  return h("a", { class: "photo", href: path, target: "_blank", rel: "noopener" }, h("img", { src: path, alt, loading: "lazy" }));
}

function historyOf(known: Known): HTMLElement {
  const row = (step: Step): HTMLElement => {
    const chinese = step.evidence?.["reason_zh"];
    const why = typeof chinese === "string" ? sentence({ en: step.reason, zh: chinese }) : step.reason;
    const reason = why ? ` · ${why}` : "";
    const change = step.before === step.after || !step.after ? stepName(step.event) : tOr(`state_${step.after}`, step.after);
    const who = h("span", { class: "more" }, ` · ${tOr(`by_${step.actor}`, step.actor)}${reason}`);
    return h("li", {}, h("time", {}, dayTime(step.at_ms)), h("span", {}, change, who, photoOf(known.case, step)));
  };
  return h("section", {}, h("h3", {}, t("history")), h("ol", { class: "rowlist" }, ...known.history.map(row)));
}

function deliveriesOf(known: Known, acts: CaseActs): HTMLElement {
  const row = (one: Delivery): HTMLElement =>
    h(
      "li",
      {},
      h("time", {}, one.sent_at_ms ? dayTime(one.sent_at_ms) : tOr(one.state, one.state)),
      h(
        "span",
        {},
        `${tOr(`channel_${one.channel}`, one.channel)} · ${tOr(one.state, one.state)}`,
        one.attempts > 1 ? ` · ${t("attempts", one.attempts)}` : "",
        h("span", { class: "more" }, ` ${one.address} ${one.detail} `),
        one.state === "dead" && known.case.can?.includes("resend") ? once(t("resend"), () => acts.resend(known.case, one.key)) : null,
      ),
    );
  const body = known.deliveries.length ? h("ul", { class: "rowlist" }, ...known.deliveries.map(row)) : h("p", { class: "more" }, t("noDeliveries"));
  return h("section", {}, h("h3", {}, t("deliveries")), body);
}
