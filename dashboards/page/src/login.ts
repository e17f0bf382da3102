// Coming in: the form for those with an account, shown where the page has no session; who one is, and what one may.

import { get, post, Refused } from "./api";
import { byId, h } from "./dom";
import { setLanguage, spoken, t } from "./text";
import type { Language } from "./records";

export interface Who {
  name: string;
  full_name: string;
  role: string;
  en: string;
  zh: string;
  way: "session" | "link" | "token" | "local";
  departments: string[];
  may: string[];
  users: boolean;
}

/** Who is logged in; null where nobody is. */
export async function whoAmI(): Promise<Who | null> {
  try {
    return await get<Who>("/api/session");
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return null;
    throw error;
  }
}

/** Show the form until somebody has come in. `choose` remembers the language. */
export function askLogin(choose: (language: Language) => void): Promise<Who> {
  const place = byId("login");
  document.body.toggleAttribute("data-outside", true);
  place.hidden = false;
  return new Promise((resolve) => {
    const draw = (user: string, said: string): void => {
      const name = h("input", { id: "loginuser", name: "username", autocomplete: "username", autocapitalize: "none", spellcheck: "false", maxlength: 64, required: true, value: user });
      const password = h("input", { id: "loginpassword", name: "password", type: "password", autocomplete: "current-password", maxlength: 256, required: true });
      const trouble = h("p", { class: "trouble", role: "alert", id: "logintrouble" }, said);
      const enter = h("button", { type: "submit", class: "primary", id: "loginnow" }, t("logIn"));
      const other = spoken() === "zh" ? "en" : "zh";
      const language = h("button", { type: "button", class: "quiet", lang: other === "zh" ? "zh-CN" : "en" }, t("language"));
      language.onclick = () => {
        setLanguage(other);
        choose(other);
        draw(name.value, "");
      };
      const form = h(
        "form",
        { "aria-labelledby": "logintitle" },
        h("h2", { id: "logintitle" }, t("logInTitle")),
        h("label", { for: "loginuser" }, t("userName")),
        name,
        h("label", { for: "loginpassword" }, t("password")),
        password,
        trouble,
        h("div", { class: "acts" }, enter, language),
        h("p", { class: "help" }, t("logInHelp")),
      );
      form.onsubmit = async (event) => {
        event.preventDefault();
        enter.disabled = true;
        trouble.textContent = "";
        try {
          await post("/api/session", { user: name.value.trim().toLowerCase(), password: password.value }, null);
          const who = await whoAmI();
          if (!who) throw new Refused(401, "cookie", t("noCookie"), "");
          document.body.toggleAttribute("data-outside", false);
          place.hidden = true;
          place.replaceChildren();
          resolve(who);
        } catch (error) {
          enter.disabled = false;
          password.value = "";
          password.focus();
          trouble.textContent = told(error);
        }
      };
      place.replaceChildren(form);
      (user ? password : name).focus();
    };
    draw("", "");
  });
}

/** A refused log-in in the reader's language. */
export function told(error: unknown): string {
  if (error instanceof TypeError) return t("offline");
  if (!(error instanceof Refused)) throw error;
  if (error.error === "password") return t("wrongPassword");
  if (error.status === 429) return t("tooManyTries", error.retry || 60);
  if (error.error === "access") return spoken() === "zh" ? error.fix : error.detail; // the rule that was broken, both ways
  return `${error.detail} ${error.fix}`;
}
