// Mutes and maintenance windows: which are in force or to come, a new one, and ending one before its time.

import { get, newKey, post, remove } from "../api";
import { h } from "../dom";
import { form, labelled, select, sure, table, words } from "../forms";
import { dayTime, fromWall, wall } from "../format";
import { t, typeName, typeNames } from "../text";
import type { Office } from "./section";

interface Mute {
  id: string;
  from_ms: number;
  until_ms: number;
  types: string[];
  subjects: string[];
  actor: string;
  reason: string;
}

const HOUR = 3_600_000;

export async function quiet(office: Office): Promise<Node[]> {
  const mayAsk = office.may("step:mute");
  const [told, policy] = await Promise.all([get<Mute[]>("/api/mutes"), mayAsk ? get<{ types: object }>("/api/policy") : { types: {} }]);
  const end = (one: Mute): Node | string =>
    office.may("step:unmute") ? sure(t("quietEnd"), async () => (await remove(`/api/mutes/${encodeURIComponent(one.id)}`), office.again())) : "";
  const rows = told.map((one) => [
    dayTime(one.from_ms),
    dayTime(one.until_ms),
    one.types.length ? one.types.map(typeName).join(", ") : t("everyType"),
    one.subjects.length ? one.subjects.join(", ") : t("everywhere"),
    `${one.reason} · ${one.actor}`,
    end(one),
  ]);
  const list = rows.length ? table([t("quietFrom"), t("quietUntil"), t("scoreTypes"), t("subject"), t("reason"), ""], rows, t("officeQuiet")) : h("p", {}, t("quietNone"));
  return [h("p", { class: "more" }, t("quietNote")), list, mayAsk ? ask(office, Object.keys(policy.types)) : ""].filter((part): part is HTMLElement => part !== "");
}

function ask(office: Office, known: string[]): HTMLElement {
  const from = h("input", { id: "quietfrom", type: "datetime-local", required: true, value: wall(office.now()) });
  const until = h("input", { id: "quietuntil", type: "datetime-local", required: true, value: wall(office.now() + 4 * HOUR) });
  const types = select(typeNames(known).map(([value, text]) => ({ value, text })), "", { id: "quiettypes", multiple: true });
  const subjects = h("input", { id: "quietsubjects", maxlength: 400, spellcheck: "false", autocomplete: "off" });
  const why = words("quietreason", true);
  const act = async (): Promise<void> => {
    const now = office.now();
    const body = {
      from_ms: Math.max(now, fromWall(from.value)),
      until_ms: fromWall(until.value),
      types: [...types.selectedOptions].map((one) => one.value),
      subjects: subjects.value.split(/[\s,，、]+/).filter(Boolean),
      reason: why.value.trim(),
    };
    await post("/api/mutes", { ...body, from_ms: Math.round(body.from_ms) }, newKey());
    office.again();
  };
  const made = form(
    [
      h("div", { class: "pair" }, labelled(t("quietFrom"), from, t("cityTime")), labelled(t("quietUntil"), until, t("cityTime"))),
      labelled(t("quietSubjects"), subjects, t("quietSubjectsNote")),
      labelled(t("scoreTypes"), types, t("quietTypesNote")),
      labelled(t("reason"), why),
    ],
    t("quietMake"),
    act,
  );
  return h("details", {}, h("summary", {}, t("quietNew")), made);
}
