// People who may log in, and tokens of programs: seen by auditors too, changed by administrators.

import { get, patch, post, remove } from "../api";
import { h } from "../dom";
import { form, labelled, once, select, sure, table } from "../forms";
import { fullTime } from "../format";
import { departmentName } from "../queue";
import { t, tOr } from "../text";
import type { Office } from "./section";

interface User {
  name: string;
  full_name: string;
  role: string;
  departments: string[];
  disabled: boolean;
  created_ms: number;
  seen_ms: number;
}

interface Token {
  id: string;
  name: string;
  user: string;
  role: string;
  departments: string[];
  created_ms: number;
  expires_ms: number;
  seen_ms: number;
}

const ROLES = ["operator", "dispatcher", "department", "auditor", "admin"];
const SHORTEST = 12;

const roleName = (role: string): string => tOr(`role_${role}`, role);
const at = (ms: number): string => (ms ? fullTime(ms) : t("never"));

export async function users(office: Office): Promise<Node[]> {
  const told = await get<User[]>("/api/users");
  const admin = office.may("users");
  const change = (one: User, body: object) => async (): Promise<void> => {
    await patch(`/api/users/${encodeURIComponent(one.name)}`, body);
    office.again();
  };
  const acts = (one: User): Node | string => {
    if (!admin) return "";
    const off = once(t(one.disabled ? "enable" : "disable"), change(one, { disabled: !one.disabled }));
    const gone = sure(t("removeUser"), async () => (await remove(`/api/users/${encodeURIComponent(one.name)}`), office.again()));
    return h("div", { class: "acts wrap" }, off, gone, editor(office, one, change));
  };
  const departments = (one: User): string => one.departments.map((id) => departmentName(office.city, id)).join(", ");
  const rows = told.map((one) => [
    h("span", {}, h("b", {}, one.name), ` ${one.full_name}`),
    `${roleName(one.role)}${one.departments.length ? ` · ${departments(one)}` : ""}`,
    one.disabled ? h("span", { class: "late" }, t("disabled")) : t("active"),
    at(one.seen_ms),
    acts(one),
  ]);
  const list = rows.length ? table([t("userName"), t("role"), t("state"), t("lastSeen"), ""], rows, t("officeUsers")) : h("p", {}, t("usersNone"));
  const may = h("details", { id: "rolesmay" }, h("summary", {}, t("rolesMay")), table([t("role"), t("rolesMay")], ROLES.map((role) => [h("b", {}, roleName(role)), tOr(`may_${role}`, role)]), t("rolesMay")));
  return admin ? [list, may, h("details", { open: told.length === 0 }, h("summary", {}, t("userNew")), newUser(office))] : [list, may];
}

function grant(office: Office, role: string, departments: string[], id: string, roles: string[] = ROLES): { parts: HTMLElement[]; told(): { role: string; departments: string[] } } {
  const choice = select(roles.map((value) => ({ value, text: roleName(value) })), role, { id: `${id}role` });
  const list = Object.keys(office.city.departments ?? {}).map((one) => h("option", { value: one, selected: departments.includes(one) }, departmentName(office.city, one)));
  const offices = h("select", { id: `${id}departments`, multiple: true }, ...list);
  const box = labelled(t("departments"), offices, t("severalNote"));
  const hide = (): void => void (box.hidden = choice.value !== "department");
  choice.onchange = hide;
  hide();
  const told = (): { role: string; departments: string[] } => ({ role: choice.value, departments: choice.value === "department" ? [...offices.selectedOptions].map((one) => one.value) : [] });
  return { parts: [labelled(t("role"), choice, t("roleNote")), box], told };
}

function newUser(office: Office): HTMLElement {
  const name = h("input", { id: "username", required: true, maxlength: 32, autocapitalize: "none", spellcheck: "false", autocomplete: "off" });
  const full = h("input", { id: "userfull", maxlength: 80, autocomplete: "off" });
  const password = h("input", { id: "userpassword", type: "password", required: true, minlength: SHORTEST, maxlength: 256, autocomplete: "new-password" });
  const rights = grant(office, "operator", [], "user");
  const act = async (): Promise<void> => {
    await post("/api/users", { name: name.value.trim(), full_name: full.value.trim(), password: password.value, ...rights.told() }, null);
    office.again();
  };
  return form([labelled(t("userName"), name), labelled(t("fullName"), full), labelled(t("password"), password, t("passwordRules", SHORTEST)), ...rights.parts], t("userAdd"), act);
}

function editor(office: Office, one: User, change: (one: User, body: object) => () => Promise<void>): HTMLElement {
  const rights = grant(office, one.role, one.departments, `edit${one.name}`);
  const password = h("input", { type: "password", minlength: SHORTEST, maxlength: 256, autocomplete: "new-password" });
  const act = async (): Promise<void> => {
    const { role, departments } = rights.told();
    const rest = password.value ? { password: password.value } : {};
    const moved = role !== one.role || departments.join() !== one.departments.join();
    await change(one, { ...(moved ? { role, departments } : {}), ...rest })();
  };
  return h("details", {}, h("summary", {}, t("change")), form([...rights.parts, labelled(t("newPassword"), password, t("leaveEmpty"))], t("save"), act));
}

export async function tokens(office: Office): Promise<Node[]> {
  const told = await get<Token[]>("/api/tokens");
  const revoke = (one: Token): Node | string =>
    office.may("users") ? sure(t("revoke"), async () => (await remove(`/api/tokens/${encodeURIComponent(one.id)}`), office.again())) : "";
  const over = (one: Token): Node | string => (one.expires_ms < Date.now() ? h("span", { class: "late" }, `${at(one.expires_ms)} · ${t("expired")}`) : at(one.expires_ms));
  const rows = told.map((one) => [h("b", {}, one.name), one.user || t("program"), roleName(one.role), over(one), at(one.seen_ms), revoke(one)]);
  const list = rows.length ? table([t("token"), t("tokenOf"), t("role"), t("expires"), t("lastSeen"), ""], rows, t("officeTokens")) : h("p", {}, t("tokensNone"));
  return office.may("users") ? [list, h("details", {}, h("summary", {}, t("tokenNew")), newToken(office))] : [list];
}

function newToken(office: Office): HTMLElement {
  const name = h("input", { id: "tokenname", required: true, maxlength: 32, spellcheck: "false", autocomplete: "off" });
  const days = h("input", { id: "tokendays", type: "number", required: true, min: "1", max: "730", step: "1", value: "90" });
  const rights = grant(office, "auditor", [], "token", [...ROLES, "ingest", "metrics"]);
  const shown = h("div", { role: "status" });
  const act = async (): Promise<void> => {
    const made = await post<{ token: string }>("/api/tokens", { name: name.value.trim(), days: Number(days.value), ...rights.told() }, null);
    const done = h("button", { type: "button", onclick: office.again }, t("tokenKept"));
    shown.replaceChildren(h("p", {}, t("tokenOnce")), h("code", { id: "tokensecret", class: "secret" }, made.token), h("div", { class: "acts" }, done));
  };
  return h("div", {}, form([labelled(t("token"), name), labelled(t("tokenDays"), days), ...rights.parts], t("tokenMake"), act), shown);
}
