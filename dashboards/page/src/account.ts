// One's own account: role, sessions with a way to end them, another password, log-out.

import { get, post, remove } from "./api";
import { present, toast } from "./dialogs";
import { h } from "./dom";
import { dayTime } from "./format";
import { form, labelled } from "./forms";
import type { Who } from "./login";
import type { City } from "./records";
import { departmentName } from "./queue";
import { spoken, t } from "./text";

interface Session {
  id: string;
  user: string;
  seen_ms: number;
  address: string;
  agent: string;
  own: boolean;
}

const SHORTEST = 12;

/** What stands on the button: the name, and the role. */
export function whoShort(who: Who): string {
  const name = who.way === "link" ? t("guest") : who.full_name || who.name;
  return `${name} · ${spoken() === "zh" ? who.zh : who.en}`;
}

/** The dialog. `left` is called after log-out. */
export async function showAccount(who: Who, city: City, left: () => void): Promise<void> {
  const sessions = who.way === "session" ? (await get<Session[]>("/api/sessions")).filter((one) => one.user === who.name) : [];
  present(whoShort(who), (shut) => {
    const departments = who.departments.map((id) => departmentName(city, id)).join(", ");
    const out = h("button", { type: "button", id: "logout" }, t("logOut"));
    out.onclick = async () => {
      await remove("/api/session");
      shut();
      left();
    };
    return [
      h("p", {}, who.way === "link" ? t("guestSaid") : `${who.name}${departments ? ` · ${departments}` : ""}`),
      sessions.length ? sessionsOf(sessions) : "",
      who.way === "session" ? passwordForm() : "",
      h("div", { class: "acts" }, out, h("button", { type: "button", class: "primary", onclick: shut }, t("shut"))),
    ].filter((part): part is HTMLElement => part !== "");
  });
}

function sessionsOf(sessions: Session[]): HTMLElement {
  const row = (one: Session): HTMLElement => {
    const item = h("li", {}, h("time", {}, dayTime(one.seen_ms)), h("span", {}, one.address, h("span", { class: "more" }, ` ${one.own ? t("thisSession") : one.agent.slice(0, 60)}`)));
    if (one.own) return item;
    const end = h("button", { type: "button", class: "quiet", "aria-label": `${t("endSession")}: ${one.address}` }, t("endSession"));
    end.onclick = async () => {
      await remove(`/api/sessions/${encodeURIComponent(one.id)}`);
      item.remove();
    };
    item.append(end);
    return item;
  };
  return h("section", {}, h("h3", {}, t("sessions")), h("ul", { class: "rowlist" }, ...sessions.map(row)));
}

function passwordForm(): HTMLElement {
  const field = (id: string, complete: string, shortest: number | null): HTMLInputElement => h("input", { id, type: "password", autocomplete: complete, maxlength: 256, required: true, minlength: shortest });
  const old = field("oldpassword", "current-password", null);
  const fresh = field("newpassword", "new-password", SHORTEST);
  const act = async (): Promise<void> => {
    await post("/api/password", { old: old.value, new: fresh.value }, null);
    made.reset();
    toast(t("passwordChanged"));
  };
  const made = form([labelled(t("oldPassword"), old), labelled(t("newPassword"), fresh, t("passwordRules", SHORTEST))], t("changePassword"), act);
  return h("details", {}, h("summary", {}, t("changePassword")), made);
}
