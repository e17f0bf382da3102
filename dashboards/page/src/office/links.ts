// Ids as links out of the office, where there is something to open.

import { h } from "../dom";
import type { Office } from "./section";

export function deviceLink(office: Office, id: string): HTMLElement {
  return office.known(id) ? h("button", { type: "button", class: "link", onclick: () => office.openDevice(id) }, id) : h("span", {}, id);
}

export function caseLink(office: Office, id: string): HTMLElement {
  return id ? h("button", { type: "button", class: "link", onclick: () => office.openCase(id) }, id) : h("span", {}, "–");
}
