// What findings and whistles go by, for reading; an administrator replaces the city's own part as a whole.

import { get, put } from "../api";
import { h } from "../dom";
import { form, labelled, table } from "../forms";
import { number, span } from "../format";
import { t, typeName } from "../text";
import type { Office } from "./section";

interface Rules {
  rules: Record<string, Record<string, unknown>>;
  overrides: Record<string, unknown>;
  budgets: { detector: string; kind: string; allowed: number; per: string; bars_times: number; days: number }[];
}

interface Policy {
  types: Record<string, { deadline_s?: number; hold_s?: number; verify_s?: number; kind?: string }>;
  overrides: Record<string, unknown>;
}

const took = (seconds: number | undefined): string => (seconds === undefined ? t("none") : span(seconds * 1000));

export async function rules(office: Office): Promise<Node[]> {
  const [found, policy] = await Promise.all([get<Rules>("/api/rules"), get<Policy>("/api/policy")]);
  const shown = (value: unknown): string => (typeof value === "number" ? number(value, 3, 0) : typeof value === "object" ? JSON.stringify(value) : String(value));
  const limits = (one: Record<string, unknown>): string => Object.entries(one).map(([name, value]) => `${name} ${shown(value)}`).join(" · ");
  const types = Object.entries(policy.types).map(([name, one]) => [typeName(name), took(one.deadline_s), took(one.hold_s), took(one.verify_s)]);
  const bars = Object.entries(found.rules).map(([name, one]) => [typeName(name), h("code", {}, limits(one))]);
  const parts: Node[] = [
    h("h4", {}, t("rulesPolicy")),
    table([t("caseType"), t("deadline"), t("held"), t("clearFor")], types, t("rulesPolicy")),
    h("h4", {}, t("rulesBars")),
    table([t("caseType"), t("parameters")], bars, t("rulesBars")),
  ];
  if (found.budgets.length) {
    const rows = found.budgets.map((one) => [one.detector, one.kind, `${number(one.allowed, 3, 0)} / ${one.per}`, `× ${number(one.bars_times, 2)}`, number(one.days, 1)]);
    parts.push(h("h4", {}, t("budgets")), table([t("detector"), t("kind"), t("budgetAllowed"), t("budgetBars"), t("budgetDays")], rows, t("budgets")));
  }
  if (office.may("rules")) {
    parts.push(edit(office, "/api/rules", found.overrides, t("rulesEdit")), edit(office, "/api/policy", policy.overrides, t("policyEdit")));
  }
  return parts;
}

/** The city's own table as JSON, whole. What is wrong is named by the server, and nothing changes. */
function edit(office: Office, path: string, table: Record<string, unknown>, title: string): HTMLElement {
  const text = h("textarea", { class: "code", rows: 10, spellcheck: "false" });
  text.value = JSON.stringify(table, null, 2);
  const act = async (): Promise<void> => {
    let told: unknown;
    try {
      told = JSON.parse(text.value);
    } catch (error) {
      text.setCustomValidity(t("notJson", String(error)));
      text.reportValidity();
      return;
    }
    await put(path, told);
    office.again();
  };
  text.oninput = () => text.setCustomValidity("");
  return h("details", {}, h("summary", {}, title), form([labelled(t("ownTable"), text, t("ownTableNote"))], t("replaceNow"), act));
}
