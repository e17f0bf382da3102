// The whistle queue: newest on top, severity by colour, shape and word; keys move through it.

import type { Case, City } from "./records";
import { h, setText } from "./dom";
import { count, span } from "./format";
import { severityIcon } from "./icons";
import { commonName, named, sentence, spoken, t, tOr, typeName, type Word } from "./text";

export const ENDED = ["closed", "evaluated", "cancelled"];

interface Line {
  case: Case;
  row: HTMLLIElement;
  button: HTMLButtonElement;
  age: HTMLElement;
  due: HTMLElement;
  spoken: string;
}

export class Queue {
  private readonly lines = new Map<string, Line>();
  private readonly empty = h("li", { class: "empty" });
  private city: City | null = null;
  private ids: string[] = [];
  selected = "";
  todo = false; // only what nobody has accepted is shown
  narrowed = false; // words or a severity leave some out

  constructor(private readonly list: HTMLElement, private readonly open: (id: string) => void) {}

  setCity(city: City): void {
    this.city = city;
  }

  /** Show these cases, newest first. `fresh`: ids that just came. */
  show(cases: Case[], nowMs: number, fresh: Set<string> = new Set()): void {
    const wanted = new Set(cases.map((one) => one.id));
    for (const [id, line] of this.lines) {
      if (wanted.has(id)) continue;
      line.row.remove();
      this.lines.delete(id);
    }
    let before: Element | null = null;
    for (const one of cases) {
      let line = this.lines.get(one.id);
      if (!line || line.case !== one || line.spoken !== spoken()) {
        const made = this.make(one, nowMs);
        if (line) {
          const focused = document.activeElement === line.button;
          line.row.replaceWith(made.row);
          if (focused) made.button.focus({ preventScroll: true });
        }
        if (fresh.has(one.id)) made.button.classList.add("fresh");
        line = made;
        this.lines.set(one.id, line);
      }
      const at: Element | null = before ? before.nextElementSibling : this.list.firstElementChild;
      if (at !== line.row) this.list.insertBefore(line.row, at);
      before = line.row;
    }
    this.ids = cases.map((one) => one.id);
    if (cases.length === 0) {
      setText(this.empty, t(this.narrowed ? "filterEmpty" : this.todo ? "todoEmpty" : "queueEmpty"));
      this.list.append(this.empty);
    } else this.empty.remove();
    this.mark();
  }

  /** Ages and deadlines, once a second. */
  tick(nowMs: number): void {
    for (const line of this.lines.values()) this.times(line, nowMs);
  }

  select(id: string): void {
    this.selected = id;
    this.mark();
    this.lines.get(id)?.row.scrollIntoView({ block: "nearest" });
  }

  /** The neighbour of the selected case, `step` rows on; "" for an empty queue. */
  neighbour(step: number): string {
    const at = this.ids.indexOf(this.selected);
    if (at < 0) return this.ids[step > 0 ? 0 : this.ids.length - 1] ?? "";
    return this.ids[Math.min(this.ids.length - 1, Math.max(0, at + step))] ?? "";
  }

  private mark(): void {
    for (const [id, line] of this.lines) line.button.setAttribute("aria-current", String(id === this.selected));
  }

  private times(line: Line, nowMs: number): void {
    const { case: one } = line;
    setText(line.age, span(nowMs - one.opened_ms));
    const ended = ENDED.includes(one.state) || one.deadline_ms === 0;
    const left = one.deadline_ms - nowMs;
    setText(line.due, ended ? "" : left >= 0 ? t("due", span(left)) : t("overdue", span(-left)));
    line.due.classList.toggle("late", !ended && left < 0);
  }

  private make(one: Case, nowMs: number): Line {
    const age = h("span", { class: "age" });
    const due = h("span", { class: "due" });
    const level = Math.min(4, Math.max(1, one.severity));
    const button = h(
      "button",
      { type: "button", class: `whistle${ENDED.includes(one.state) ? " ended" : ""}`, onclick: () => this.open(one.id) },
      h("span", { class: "icon" }, severityIcon(one.severity)),
      h("span", { class: "title" }, h("span", { class: `sev sev${level}` }, t(`severity${level}` as Word)), ` · ${typeName(one.type)}`),
      age,
      h("span", { class: "sentence" }, sentence(one) || typeName(one.type)),
      h(
        "span",
        { class: "meta" },
        h("span", { class: `next ${one.state}` }, tOr(`next_${one.state}`, tOr(`state_${one.state}`, one.state))),
        one.children > 0 ? h("span", {}, one.children === 1 ? t("child") : t("children", count(one.children))) : null,
        one.department ? h("span", { class: "who" }, departmentName(this.city, one.department)) : null,
        due,
      ),
    );
    const line = { case: one, row: h("li", {}, button), button, age, due, spoken: spoken() };
    this.times(line, nowMs);
    return line;
  }
}

/** Whether a case has all the words, in what the queue says of it. */
export function fits(one: Case, city: City | null, wish: string, least: number): boolean {
  if (one.severity < least) return false;
  if (!wish) return true;
  const said = [one.id, typeName(one.type), one.subject, sentence(one), one.department ? departmentName(city, one.department) : ""].join(" ").toLowerCase();
  return wish.toLowerCase().split(/\s+/).every((word) => said.includes(word));
}

export function departmentName(city: City | null, id: string): string {
  return named(city?.departments?.[id], commonName(id));
}
