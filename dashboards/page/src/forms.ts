// Fields with their labels, and a form that says what became of it: busy while it works, in words where it was refused.

import { h } from "./dom";
import { told } from "./login";
import { t } from "./text";

export interface Choice {
  value: string;
  text: string;
}

let made = 0;

/** A control under its label. */
export function labelled(text: string, control: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement, help = ""): HTMLElement {
  control.id ||= `field${++made}`;
  const note = help ? h("span", { class: "more", id: `${control.id}help` }, help) : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, text), control, note);
}

export function select(choices: Choice[], value = "", attributes: Record<string, string | boolean> = {}): HTMLSelectElement {
  return h("select", attributes, ...choices.map((one) => h("option", { value: one.value, selected: one.value === value }, one.text)));
}

/** Words of a person: why something is done. */
export function words(id: string, needed: boolean, longest = 400): HTMLTextAreaElement {
  return h("textarea", { id, maxlength: longest, required: needed, rows: 2 });
}

/** A form. `act` does it; what the server refuses is said in the form, which stays as it was filled in. */
export function form(parts: (Node | null)[], go: string, act: () => Promise<void>, more: Node[] = []): HTMLFormElement {
  const trouble = h("p", { class: "trouble", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, go);
  const made = h("form", { class: "fields" }, ...parts, trouble, h("div", { class: "acts" }, ...more, button));
  made.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    made.setAttribute("aria-busy", "true");
    trouble.textContent = "";
    try {
      await act();
    } catch (error) {
      trouble.textContent = told(error);
    } finally {
      button.disabled = false;
      made.removeAttribute("aria-busy");
    }
  };
  return made;
}

/** A table in a box that scrolls by itself; "" columns are those of buttons. */
export function table(heads: string[], rows: (Node | string)[][], label: string): HTMLElement {
  const head = h("tr", {}, ...heads.map((text) => h("th", { scope: "col" }, text)));
  const body = rows.map((row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, h("table", { class: "list" }, h("thead", {}, head), h("tbody", {}, ...body)));
}

/** A button that does something once; what is refused is said beside it. */
export function once(text: string, act: () => Promise<void>, attributes: Record<string, string> = {}): HTMLElement {
  const said = h("span", { class: "trouble", role: "alert" });
  const button = h("button", { type: "button", ...attributes }, text);
  button.onclick = async () => {
    button.disabled = true;
    said.textContent = "";
    try {
      await act();
    } catch (error) {
      said.textContent = told(error);
    } finally {
      button.disabled = false;
    }
  };
  return h("span", { class: "once" }, button, said);
}

/** A button that asks once more before it does what cannot be taken back. */
export function sure(text: string, act: () => Promise<void>, attributes: Record<string, string> = {}): HTMLElement {
  const place = h("span", { class: "once" });
  const first = h("button", { type: "button", ...attributes }, text);
  first.onclick = () => {
    const leave = h("button", { type: "button", class: "quiet", onclick: () => place.replaceChildren(first) }, t("cancel"));
    place.replaceChildren(once(t("sureNow", text), act, { class: "danger" }), leave);
    place.querySelector("button")?.focus();
  };
  place.append(first);
  return place;
}
