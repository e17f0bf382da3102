// The one dialog: asking for the reason of a closure, showing what was rejected. Escape leaves it, focus returns.

import { clean } from "./clean";
import { byId, h } from "./dom";
import { t } from "./text";

/** Open the dialog with a title and what `fill` makes; `shut` closes it. */
export function present(title: string, fill: (shut: () => void) => Node[], sort = ""): void {
  const dialog = byId("dialog") as HTMLDialogElement;
  const shut = (): void => dialog.close();
  dialog.className = sort;
  dialog.replaceChildren(h("h2", { id: "dialogtitle" }, title), ...fill(shut));
  dialog.setAttribute("aria-labelledby", "dialogtitle");
  if (!dialog.open) dialog.showModal();
}

/** Ask why a case is closed; resolves with the reason, or null when the operator thought better of it. */
export function askReason(about: string): Promise<string | null> {
  return new Promise((resolve) => {
    const dialog = byId("dialog") as HTMLDialogElement;
    let reason: string | null = null;
    const reasons = [t("whyHandled"), t("whyFalse"), t("whyDuplicate"), t("whyPlanned")];
    const more = h("textarea", { id: "whymore", maxlength: 400, "aria-label": t("whyMore"), placeholder: t("whyMore") });
    const choice = (text: string, i: number): HTMLElement => h("label", {}, h("input", { type: "radio", name: "why", value: text, checked: i === 0 }), text);
    present(t("closeCase"), (shut) => {
      const form = h(
        "form",
        { method: "dialog" },
        h("p", {}, about),
        h("fieldset", {}, h("legend", {}, t("closeWhy")), ...reasons.map(choice)),
        more,
        h("div", { class: "acts" }, h("button", { type: "button", onclick: shut }, t("cancel")), h("button", { type: "submit", class: "primary", id: "closenow" }, t("closeCase"))),
      );
      form.onsubmit = () => {
        const chosen = new FormData(form).get("why");
        reason = [String(chosen ?? reasons[0]), more.value.trim()].filter(Boolean).join(": ");
      };
      return [form];
    });
    dialog.addEventListener("close", () => resolve(reason), { once: true });
  });
}

/** Ask for a few words; resolves with them, or null. */
export function askWords(title: string, question: string, go: string): Promise<string | null> {
  return new Promise((resolve) => {
    const dialog = byId("dialog") as HTMLDialogElement;
    let words: string | null = null;
    const field = h("textarea", { id: "words", maxlength: 300, required: true, "aria-label": question });
    present(title, (shut) => {
      const form = h(
        "form",
        { method: "dialog" },
        h("p", {}, question),
        field,
        h("div", { class: "acts" }, h("button", { type: "button", onclick: shut }, t("cancel")), h("button", { type: "submit", class: "primary", id: "wordsnow" }, go)),
      );
      form.onsubmit = () => {
        words = field.value.trim();
      };
      return [form];
    });
    field.focus();
    dialog.addEventListener("close", () => resolve(words || null), { once: true });
  });
}

let fading = 0;

/** Say something in passing. */
export function toast(text: string): void {
  const box = byId("toast");
  box.textContent = clean(text);
  clearTimeout(fading);
  fading = window.setTimeout(() => (box.textContent = ""), 6000);
}
