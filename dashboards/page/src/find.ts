// Finding a device by its id: the way to every device for those who do not use the map.

import { byId, h } from "./dom";
import type { Fleet } from "./map/fleet";
import type { City } from "./records";
import { named, t } from "./text";

const MOST = 8;

export class Find {
  private readonly input = byId("find") as HTMLInputElement;
  private readonly list = byId("findings");
  private rows: number[] = [];
  private chosen = 0;
  private fleet: Fleet | null = null;
  private city: City | null = null;

  constructor(private readonly open: (row: number) => void) {
    this.input.oninput = () => this.search();
    this.input.onkeydown = (event) => this.key(event);
    this.input.onblur = () => this.hide();
    this.list.onmousedown = (event) => event.preventDefault(); // keep the focus until the click has come
  }

  setCity(city: City, fleet: Fleet): void {
    [this.city, this.fleet] = [city, fleet];
  }

  speak(): void {
    this.input.placeholder = t("find");
    this.input.setAttribute("aria-label", t("findLabel"));
    this.list.setAttribute("aria-label", t("findLabel"));
  }

  focus(): void {
    this.input.focus();
    this.input.select();
  }

  private search(): void {
    const wish = this.input.value.trim().toLowerCase();
    const { fleet } = this;
    this.rows = [];
    if (wish && fleet) {
      const behind: number[] = [];
      for (let i = 0; i < fleet.n && this.rows.length < MOST; i++) {
        const at = fleet.ids[i]!.toLowerCase().indexOf(wish);
        if (at === 0) this.rows.push(i);
        else if (at > 0 && behind.length < MOST) behind.push(i);
      }
      this.rows = [...this.rows, ...behind].slice(0, MOST);
    }
    this.chosen = 0;
    this.draw();
  }

  private draw(): void {
    const { fleet, city } = this;
    this.list.hidden = this.rows.length === 0;
    this.input.setAttribute("aria-expanded", String(this.rows.length > 0));
    if (!fleet || !city) return;
    const item = (row: number, i: number): HTMLElement => {
      const kind = fleet.kinds[fleet.kind[row]!]!;
      return h(
        "li",
        { role: "option", id: `finding${i}`, "aria-selected": String(i === this.chosen), onclick: () => this.take(i) },
        fleet.ids[row]!,
        h("span", {}, named(city.kinds[kind], kind)),
      );
    };
    this.list.replaceChildren(...this.rows.map(item));
    if (this.rows.length) this.input.setAttribute("aria-activedescendant", `finding${this.chosen}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  private take(i: number): void {
    const row = this.rows[i];
    if (row === undefined) return;
    this.hide();
    this.input.value = "";
    this.input.blur();
    this.open(row);
  }

  private hide(): void {
    this.rows = [];
    this.draw();
  }

  private key(event: KeyboardEvent): void {
    const n = this.rows.length;
    if (event.key === "Escape") this.input.blur();
    else if (event.key === "Enter") this.take(this.chosen);
    else if (n && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      this.chosen = (this.chosen + (event.key === "ArrowDown" ? 1 : n - 1)) % n;
      this.draw();
      event.preventDefault();
    }
    event.stopPropagation();
  }
}
