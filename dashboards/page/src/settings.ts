// What an operator chose, remembered by the browser: language, theme, text size.

import type { Language } from "./records";

export type ThemeChoice = "auto" | "dark" | "light";

export interface Settings {
  language: Language;
  theme: ThemeChoice;
  large: boolean;
}

const KEY = "citywhistle.settings";

/** The remembered settings; what is absent or foreign falls back to the browser's language and the hour's theme. */
export function recall(): Settings {
  const fresh: Settings = { language: navigator.language.startsWith("zh") ? "zh" : "en", theme: "auto", large: false };
  const text = localStorage.getItem(KEY);
  if (!text) return fresh;
  try {
    const told = JSON.parse(text) as Partial<Settings> | null;
    return {
      language: told?.language === "zh" || told?.language === "en" ? told.language : fresh.language,
      theme: told?.theme === "dark" || told?.theme === "light" ? told.theme : "auto",
      large: told?.large === true,
    };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return fresh;
  }
}

export function remember(settings: Settings): void {
  localStorage.setItem(KEY, JSON.stringify(settings));
}
