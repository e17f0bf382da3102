// Messages that were given up, to be sent again; and the ways out, how they fare and a test of each.

import { get, newKey, post } from "../api";
import { h } from "../dom";
import { form, labelled, once, table } from "../forms";
import { count, fullTime } from "../format";
import { departmentName } from "../queue";
import { t, tOr } from "../text";
import { caseLink } from "./links";
import type { Office } from "./section";

interface Letter {
  case: string;
  key: string;
  channel: string;
  address: string;
  purpose: string;
  attempts: number;
  at_ms: number;
  detail: string;
}

interface Lane {
  address: string;
  waiting: number;
  failures: number;
  open: boolean;
  error: string;
}

interface Channel {
  channel: string;
  configured: boolean;
  departments: string[];
  lanes: Lane[];
}

export const channelName = (name: string): string => tOr(`channel_${name}`, name);

export async function letters(office: Office): Promise<Node[]> {
  const told = await get<Letter[]>("/api/letters?limit=200");
  if (told.length === 0) return [h("p", {}, t("lettersNone"))];
  const again = (one: Letter): Node | string =>
    one.case && office.may("step:resend")
      ? once(t("resend"), async () => {
          await post(`/api/cases/${encodeURIComponent(one.case)}/resend`, { key: one.key, reason: "" }, newKey());
          office.again();
        })
      : "";
  const rows = told.map((one) => [one.at_ms ? fullTime(one.at_ms) : t("none"), caseLink(office, one.case), `${channelName(one.channel)} ${one.address}`, `${tOr(`purpose_${one.purpose}`, one.purpose)} · ${t("attempts", one.attempts)}`, one.detail, again(one)]);
  return [h("p", { class: "more" }, t("lettersNote")), table([t("machineTime"), t("case"), t("channel"), t("purpose"), t("detail"), ""], rows, t("officeLetters"))];
}

export async function channels(office: Office): Promise<Node[]> {
  const told = await get<Channel[]>("/api/channels");
  const lane = (one: Lane): string => [one.address, t("laneWaiting", count(one.waiting)), one.open ? t("laneOpen") : "", one.failures ? t("laneFailures", count(one.failures)) : "", one.failures ? one.error : ""].filter(Boolean).join(" · ");
  const rows = told.map((one) => [
    channelName(one.channel),
    t(one.configured ? "configuredYes" : "configuredNo"),
    one.departments.map((id) => departmentName(office.city, id)).join(", ") || t("none"),
    one.lanes.length ? h("ul", {}, ...one.lanes.map((at) => h("li", { class: at.open ? "late" : "" }, lane(at)))) : t("none"),
  ]);
  const parts: Node[] = [table([t("channel"), t("configured"), t("departments"), t("lanes")], rows, t("officeChannels"))];
  if (office.may("channels")) parts.push(test(told.filter((one) => one.configured)));
  return parts;
}

function test(told: Channel[]): HTMLElement {
  const name = h("select", { id: "testchannel" }, ...told.map((one) => h("option", { value: one.channel }, channelName(one.channel))));
  const to = h("input", { id: "testto", maxlength: 500, spellcheck: "false", autocomplete: "off" });
  const said = h("p", { role: "status", id: "testsaid" });
  const act = async (): Promise<void> => {
    said.textContent = t("testing");
    try {
      const got = await post<{ ok: boolean; said: string }>(`/api/channels/${encodeURIComponent(name.value)}/test`, { to: to.value.trim() }, null);
      said.textContent = `${t(got.ok ? "testGood" : "testBad")} ${got.said}`;
    } catch (error) {
      said.textContent = "";
      throw error;
    }
  };
  return h("details", {}, h("summary", {}, t("testTitle")), form([labelled(t("channel"), name), labelled(t("testTo"), to, t("testToNote")), said], t("testNow"), act));
}
