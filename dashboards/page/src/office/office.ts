// The office: what an operator looks for beside map and queue, one section each, shown to those whose role has it.

import { Refused } from "../api";
import { present } from "../dialogs";
import { h } from "../dom";
import { told } from "../login";
import { t, type Word } from "../text";
import { backtest } from "./backtest";
import { books } from "./books";
import { channels, letters } from "./letters";
import { orders } from "./orders";
import { quiet } from "./quiet";
import { rules } from "./rules";
import { strangers, versions } from "./register";
import type { Office, Section } from "./section";
import { tokens, users } from "./users";

const SECTIONS: [Word, string, Section][] = [
  ["officeOrders", "account", orders],
  ["officeQuiet", "account", quiet],
  ["officeLetters", "account", letters],
  ["officeChannels", "account", channels],
  ["officeStrangers", "registry", strangers],
  ["officeVersions", "registry", versions],
  ["officeBacktest", "backtest", backtest],
  ["officeRules", "city", rules],
  ["officeUsers", "users:read", users],
  ["officeTokens", "users:read", tokens],
  ["officeBooks", "audit", books],
];

let last: Word = "officeOrders";

/** The sections that a role has. */
export function sectionsOf(may: (permission: string) => boolean): Word[] {
  return SECTIONS.filter(([, permission]) => may(permission)).map(([word]) => word);
}

export type Given = Omit<Office, "again" | "reopen" | "openCase" | "openDevice">;

/** Open the office where it was left. `outside` opens a case or device behind it. */
export function openOffice(given: Given, outside: { case(id: string): void; device(id: string): void }): void {
  const mine = SECTIONS.filter(([, permission]) => given.may(permission));
  const first = mine.find(([word]) => word === last) ?? mine[0];
  if (!first) return;
  present(t("office"), (shut) => {
    const title = h("h3", { id: "officetitle", tabindex: "-1" });
    const place = h("div", { class: "place" });
    const buttons = mine.map(([word]) => h("button", { type: "button", class: "quiet", "data-section": word }, t(word)));
    let turn = 0;
    const show = async ([word, , section]: (typeof SECTIONS)[number]): Promise<void> => {
      const now = ++turn;
      last = word;
      title.textContent = t(word);
      for (const button of buttons) button.setAttribute("aria-current", String(button.dataset["section"] === word));
      place.replaceChildren(h("p", { class: "more", role: "status" }, t("loadingPart")));
      const again = (): void => {
        if (now === turn) void show([word, "", section]); // a late answer does not turn the page that is open by now
      };
      const office: Office = {
        ...given,
        again,
        reopen: () => openOffice(given, outside),
        openCase: (id) => (shut(), outside.case(id)),
        openDevice: (id) => (shut(), outside.device(id)),
      };
      try {
        const parts = await section(office);
        if (now === turn) place.replaceChildren(...parts);
      } catch (error) {
        if (now !== turn) return;
        const said = error instanceof Refused || error instanceof TypeError ? told(error) : String(error);
        place.replaceChildren(h("p", { class: "trouble", role: "alert" }, said), h("button", { type: "button", onclick: again }, t("tryAgain")));
        if (!(error instanceof Refused || error instanceof TypeError)) throw error;
      }
    };
    buttons.forEach((button, i) => (button.onclick = () => void show(mine[i]!)));
    void show(first);
    const close = h("button", { type: "button", class: "shut", "aria-label": t("shut"), onclick: shut }, "✕");
    return [h("div", { class: "office" }, h("nav", { "aria-label": t("office") }, ...buttons), h("section", { "aria-labelledby": "officetitle" }, title, place)), close];
  }, "wide");
}
