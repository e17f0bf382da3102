// The account of every reading, along the bottom and in the panel of each device: what became of it.

import { get } from "./api";
import { present } from "./dialogs";
import { h } from "./dom";
import { clockTime, count } from "./format";
import type { Account, Reject } from "./records";
import { reasonName, t } from "./text";

interface Sample {
  at: number; // page time, ms
  received: number;
}

const WINDOW_MS = 10_000;

/** Readings a second over the last ten seconds. */
export class Rate {
  private samples: Sample[] = [];

  take(received: number, now: number): number | null {
    if (this.samples.length && received < this.samples.at(-1)!.received) this.samples = []; // the server began anew
    this.samples.push({ at: now, received });
    while (this.samples.length > 2 && now - this.samples[1]!.at >= WINDOW_MS) this.samples.shift();
    const first = this.samples[0]!;
    return now - first.at < 900 ? null : ((received - first.received) / (now - first.at)) * 1000;
  }
}

export function drawStrip(strip: HTMLElement, account: Account, rate: number | null, showRejects: (() => void) | null): void {
  const rejected = total(account.rejected);
  const reasons = reasonsOf(account.rejected);
  const fact = (name: string, n: number, more = "", sort = ""): HTMLElement =>
    h("span", { class: `fact ${sort}` }, name, h("b", {}, count(n)), more ? h("span", { class: "rate" }, more) : null);
  const focused = strip.contains(document.activeElement);
  const button = showRejects && h("button", { type: "button", class: "quiet", id: "rejects", onclick: showRejects }, t("showRejects"));
  strip.replaceChildren(
    fact(t("received"), account.received, rate === null ? "" : t("perSecond", count(rate))),
    fact(t("stored"), account.stored),
    fact(t("behind"), Math.max(0, account.journalled - account.stored - account.unstorable)),
    ...(account.unstorable ? [fact(t("unstorable"), account.unstorable, "", "warn")] : []),
    fact(t("late"), account.late),
    fact(t("disorder"), account.out_of_order),
    fact(t("duplicate"), account.duplicate),
    fact(t("missing"), account.missing, "", account.missing ? "warn" : ""),
    fact(t("rejected"), rejected, reasons.length ? `(${reasons.slice(0, 4).join(" · ")}${reasons.length > 4 ? " …" : ""})` : "", rejected ? "warn" : ""),
    ...(button ? [button] : []),
  );
  if (focused) button?.focus();
}

function total(rejected: Record<string, number>): number {
  return Object.values(rejected).reduce((sum, n) => sum + n, 0);
}

/** Reasons in words with their counts, the most frequent first. */
function reasonsOf(rejected: Record<string, number>): string[] {
  const told = Object.entries(rejected).filter(([, n]) => n > 0);
  return told.sort((a, b) => b[1] - a[1]).map(([reason, n]) => `${reasonName(reason)} ${count(n)}`);
}

/** The account of one device, for its panel. */
export function accountOf(account: Account): HTMLElement {
  const reasons = reasonsOf(account.rejected);
  const facts: [string, string][] = [
    [t("received"), count(account.received)],
    [t("journalled"), count(account.journalled)],
    [t("stored"), count(account.stored)],
    ...(account.unstorable ? [[t("unstorable"), count(account.unstorable)] as [string, string]] : []),
    [t("duplicate"), count(account.duplicate)],
    [t("late"), count(account.late)],
    [t("disorder"), count(account.out_of_order)],
    [t("missing"), account.accountable ? count(account.missing) : t("notAccountable")],
    [t("rejected"), count(total(account.rejected)) + (reasons.length ? ` (${reasons.join(" · ")})` : "")],
  ];
  return h("section", { class: "account" }, h("h3", {}, t("accounting")), h("dl", { class: "pairs" }, ...facts.flatMap(([name, told]) => [h("dt", {}, name), h("dd", {}, told)])));
}

/** The newest rejected messages, readable. */
export async function showRejects(): Promise<void> {
  const rejects = await get<Reject[]>("/api/rejects?limit=200");
  const head = h("tr", {}, ...[t("time"), t("reason"), t("topic"), t("detail"), t("payload")].map((name) => h("th", { scope: "col" }, name)));
  const row = (one: Reject): HTMLElement =>
    h("tr", {}, h("td", {}, clockTime(one.at_ms)), h("td", {}, reasonName(one.reason)), h("td", { class: "code" }, one.topic), h("td", { class: "code" }, one.detail), h("td", { class: "code" }, one.payload));
  const body = rejects.length ? h("div", { class: "scroll", tabindex: 0 }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...rejects.map(row)))) : h("p", {}, t("noRejects"));
  present(t("rejectsTitle"), (shut) => [body, h("div", { class: "acts" }, h("button", { type: "button", onclick: shut }, t("shut")))]);
}
