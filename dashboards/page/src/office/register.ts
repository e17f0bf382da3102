// Devices that knock and are unknown, with a way to adopt them; and what was changed in the city, by whom, why.

import { get, newKey, post } from "../api";
import { present } from "../dialogs";
import { h } from "../dom";
import { form, labelled, select, table, words } from "../forms";
import { count, fullTime } from "../format";
import { named, t, tOr } from "../text";
import { deviceLink } from "./links";
import type { Office } from "./section";

interface Stranger {
  device: string;
  kind: string;
  district: string;
  first_ms: number;
  last_ms: number;
  messages: number;
  topic: string;
  sample: string;
  retired: boolean;
}

interface Version {
  version: number;
  at_ms: number;
  actor: string;
  reason: string;
  changes: { table: string; id: string; value: unknown; before?: unknown }[];
}

const PAGE = 1000;
const SHOWN = 200; // versions, the newest

export async function strangers(office: Office): Promise<Node[]> {
  const told = await get<Stranger[]>("/api/registry/strangers?limit=500");
  if (told.length === 0) return [h("p", {}, t("strangersNone"))];
  const act = (one: Stranger): Node | string => (office.may("registry:write") ? h("button", { type: "button", onclick: () => adopt(office, one) }, t("adopt")) : "");
  const rows = told.map((one) => [
    one.device,
    `${named(office.city.kinds[one.kind], one.kind)}${one.retired ? ` · ${t("retired")}` : ""}`,
    fullTime(one.last_ms),
    count(one.messages),
    h("code", {}, `${one.topic} ${one.sample}`),
    act(one),
  ]);
  return [h("p", { class: "more" }, t("strangersNote")), table([t("device"), t("kind"), t("lastHeard"), t("messages"), t("payload"), ""], rows, t("officeStrangers"))];
}

/** Adopting needs what a topic cannot say: where it stands and what it hangs on. */
function adopt(office: Office, one: Stranger): void {
  const kinds = Object.entries(office.city.kinds).map(([value, kind]) => ({ value, text: named(kind, value) }));
  const kind = select(kinds, one.kind, { id: "adoptkind", required: true });
  const input = (id: string, more: Record<string, string | boolean> = {}): HTMLInputElement => h("input", { id, maxlength: 64, spellcheck: "false", autocomplete: "off", ...more });
  const [lon, lat] = [input("adoptlon", { type: "number", step: "any", min: "-180", max: "180" }), input("adoptlat", { type: "number", step: "any", min: "-90", max: "90" })];
  const names = ["street", "grid", "cabinet", "feeder", "pole", "gateway", "company"] as const;
  const fields = names.map((name) => input(`adopt${name}`));
  const why = words("adoptreason", true);
  present(t("adoptTitle", one.device), () => {
    const act = async (): Promise<void> => {
      const given = names.map((name, i) => [name, fields[i]!.value.trim()] as const).filter(([, value]) => value);
      const place = [["lon", lon.value] as const, ["lat", lat.value] as const].filter(([, value]) => value).map(([name, value]) => [name, Number(value)] as const);
      const value = Object.fromEntries([...given, ...place]);
      await post("/api/registry/adopt", { reason: why.value.trim(), devices: [{ device: one.device, kind: kind.value, value }] }, newKey());
      office.reopen();
    };
    const cancel = h("button", { type: "button", onclick: office.reopen }, t("cancel"));
    return [
      form(
        [
          h("p", { class: "more" }, t("adoptNote")),
          labelled(t("kind"), kind),
          h("div", { class: "pair" }, labelled(t("longitude"), lon), labelled(t("latitude"), lat)),
          h("div", { class: "pair" }, ...names.map((name, i) => labelled(tOr(name, name), fields[i]!))),
          labelled(t("reason"), why),
        ],
        t("adopt"),
        act,
        [cancel],
      ),
    ];
  });
}

export async function versions(office: Office): Promise<Node[]> {
  const after = Math.max(0, office.city.version - SHOWN);
  const told = (await get<Version[]>(`/api/registry/versions?after=${after}&limit=${PAGE}`)).slice(-SHOWN);
  if (told.length === 0) return [h("p", {}, t("versionsNone"))];
  const sort = (change: Version["changes"][number]): string => t(change.value === null ? "changeGone" : change.before ? "changeOther" : "changeNew");
  const change = (one: Version["changes"][number]): HTMLElement =>
    h("li", {}, `${sort(one)} · ${tOr(`table_${one.table}`, one.table)} `, one.table === "devices" ? deviceLink(office, one.id) : h("span", {}, one.id));
  const list = (one: Version): HTMLElement => h("ul", {}, ...one.changes.slice(0, 8).map(change), one.changes.length > 8 ? h("li", { class: "more" }, t("andMore", count(one.changes.length - 8))) : null);
  const rows = told.reverse().map((one) => [String(one.version), fullTime(one.at_ms), one.actor, one.reason, list(one)]);
  return [table([t("version"), t("time"), t("byWhom"), t("reason"), t("changes")], rows, t("officeVersions"))];
}
