// The steps of a case beside accept and close: which ones, what each asks for, and taking them.

import { newKey, post, send } from "./api";
import { present, toast } from "./dialogs";
import { h } from "./dom";
import { type Choice, form, labelled, select, words } from "./forms";
import { departmentName } from "./queue";
import type { Case, City } from "./records";
import { sentence, spoken, t, tOr, typeName, type Word } from "./text";

export interface Desk {
  city: City;
  open: Case[]; // causes, for merging
  now(): number; // city time
  done(id: string): void; // the case has changed
}

// In the order in which they are offered. What is not here has a place of its own (resend stands beside its message).
const OFFERED = ["handle", "verify", "dispatch", "transfer", "return", "redo", "extend", "approve", "deny", "evaluate", "reopen", "comment", "attach", "mute", "merge", "split", "cancel"];
const HOUR = 3_600_000;
const QUIET: [Word, number][] = [["quiet1h", 1], ["quiet4h", 4], ["quiet12h", 12], ["quiet1d", 24], ["quiet7d", 168]];

export const stepWord = (verb: string): string => tOr(`do_${verb}`, verb);

/** Buttons of the steps that may be taken, but for those shown elsewhere. */
export function stepButtons(one: Case, shown: string[], desk: Desk): HTMLElement | null {
  const can = (one.can ?? []).filter((verb) => !shown.includes(verb));
  const offered = OFFERED.filter((verb) => can.includes(verb) && (verb !== "split" || one.parent !== ""));
  if (offered.length === 0) return null;
  const button = (verb: string): HTMLElement => h("button", { type: "button", "data-step": verb, onclick: () => askStep(one, verb, desk) }, `${stepWord(verb)}…`);
  return h("details", { class: "othersteps" }, h("summary", {}, t("otherSteps")), h("div", { class: "acts wrap" }, ...offered.map(button)));
}

/** Ask what a step needs, and take it. */
export function askStep(one: Case, verb: string, desk: Desk): void {
  const asked = fieldsOf(one, verb, desk);
  present(`${stepWord(verb)}: ${typeName(one.type)}, ${one.subject}`, (shut) => {
    const cancel = h("button", { type: "button", onclick: shut }, t("cancel"));
    const key = newKey(); // the same for every try of this dialog: a repeated call is one step
    const act = async (): Promise<void> => {
      await asked.take(`/api/cases/${encodeURIComponent(one.id)}`, key);
      shut();
      toast(t("stepDone", stepWord(verb), `${typeName(one.type)}, ${one.subject}`));
      desk.done(one.id);
    };
    return [form([h("p", {}, sentence(one)), ...asked.parts], stepWord(verb), act, [cancel])];
  });
}

interface Asked {
  parts: HTMLElement[];
  take(path: string, key: string): Promise<unknown>;
}

function fieldsOf(one: Case, verb: string, desk: Desk): Asked {
  const must = ["redo", "return", "transfer", "extend", "deny", "reopen", "cancel", "merge", "split", "comment", "mute"].includes(verb) || (verb === "verify" && one.active);
  const why = words("stepreason", must);
  const reason = labelled(must ? t("reason") : t("reasonOptional"), why, verb === "verify" && one.active ? t("overrideNote") : "");
  const asked = (parts: HTMLElement[], body: () => object = () => ({})): Asked => ({
    parts: [...parts, reason],
    take: (path, key) => post<Case>(`${path}/${verb}`, { reason: why.value.trim(), ...body() }, key),
  });
  switch (verb) {
    case "transfer":
    case "dispatch": {
      const to = select(departments(one, verb, desk.city), "", { id: "stepdepartment", required: verb === "transfer" });
      return asked([labelled(t("department"), to)], () => (to.value ? { department: to.value } : {}));
    }
    case "extend":
    case "approve": {
      const hours = h("input", { id: "stephours", type: "number", min: "0.5", max: "720", step: "0.5", required: verb === "extend", value: verb === "extend" ? "8" : "" });
      return asked([labelled(t("moreHours"), hours, verb === "approve" ? t("moreHoursAsAsked") : "")], () => (hours.value ? { extra_s: Number(hours.value) * 3600 } : {}));
    }
    case "evaluate":
      return evaluation(asked);
    case "merge": {
      const causes = desk.open.filter((other) => other.id !== one.id && !other.parent);
      const into = select(causes.map((other) => ({ value: other.id, text: `${typeName(other.type)} · ${other.subject} · ${other.id}` })), "", { id: "stepinto", required: true });
      return asked([labelled(t("mergeInto"), into)], () => ({ into: into.value }));
    }
    case "mute": {
      const length = select(QUIET.map(([word, hours]) => ({ value: String(hours), text: t(word) })), "4", { id: "stepquiet" });
      return asked([h("p", { class: "more" }, t("muteNote", typeName(one.type), one.subject)), labelled(t("quietFor"), length)], () => ({ until_ms: Math.round(desk.now() + Number(length.value) * HOUR) }));
    }
    case "attach": {
      const file = h("input", { id: "stepfile", type: "file", accept: "image/jpeg,image/png,image/webp", required: true });
      const take = (path: string, key: string): Promise<unknown> => send(`${path}/photos?reason=${encodeURIComponent(why.value.trim())}`, file.files![0]!, key);
      return { parts: [labelled(t("photo"), file, t("photoNote")), reason], take };
    }
    default:
      return asked([]);
  }
}

function evaluation(asked: (parts: HTMLElement[], body: () => object) => Asked): Asked {
  const verdict = select([{ value: "useful", text: t("verdictUseful") }, { value: "false", text: t("verdictFalse") }], "useful", { id: "stepverdict" });
  const score = select([{ value: "", text: t("none") }, ...[5, 4, 3, 2, 1].map((n) => ({ value: String(n), text: t("points", n) }))], "", { id: "stepscore" });
  const by = select(["operator", "unit", "citizen"].map((who) => ({ value: who, text: tOr(`judge_${who}`, who) })), "operator", { id: "stepby" });
  const body = (): object => ({ verdict: verdict.value, by: by.value, ...(score.value ? { score: Number(score.value) } : {}) });
  return asked([labelled(t("verdict"), verdict), labelled(t("howWell"), score), labelled(t("judgedBy"), by)], body);
}

function departments(one: Case, verb: string, city: City): Choice[] {
  const ids = Object.keys(city.departments ?? {}).filter((id) => verb === "dispatch" || id !== one.department);
  const named = ids.map((id) => ({ value: id, text: departmentName(city, id) })).sort((a, b) => a.text.localeCompare(b.text, spoken()));
  return [{ value: "", text: t(verb === "dispatch" ? "byTheTable" : "chooseOne") }, ...named];
}
