// One device: what it is, what it said last beside what was expected, its open cases, and the chart.

import { get } from "./api";
import { Chart } from "./chart";
import { h } from "./dom";
import { dayTime, number, span, unitName } from "./format";
import { severityIcon } from "./icons";
import { ordersOf } from "./orders";
import { STATES } from "./map/fleet";
import { accountOf } from "./strip";
import type { Case, City, Desired, Device, Quantity, Series, Value } from "./records";
import { named, stateName, t, tOr, typeName, type Word } from "./text";

const HOUR = 3_600_000;
const RANGES: [Word, number][] = [["range1h", HOUR], ["range6h", 6 * HOUR], ["range24h", 24 * HOUR], ["range7d", 168 * HOUR]];

export interface DeviceActs {
  leave(): void;
  device(id: string): void;
  openCase(id: string): void;
  known(id: string): boolean;
  failed(error: unknown): void;
  now(): number;
  reveal: ((id: string) => Promise<string | null>) | null; // null: the role may not
  command: boolean; // whether the role may give orders
}

/** Panel of one device; it keeps its chart and its chosen quantity while the values under it change. */
export class DevicePanel {
  private device: Device | null = null;
  private quantity = "";
  private range = 6 * HOUR;
  private chart: Chart | null = null;
  private readout: HTMLElement | null = null;
  private asked = 0;
  private values: HTMLElement | null = null;
  private wished = "";
  private orders: ReturnType<typeof ordersOf> = null;

  constructor(private readonly panel: HTMLElement, private readonly city: City, private readonly acts: DeviceActs) {}

  get id(): string {
    return this.device?.id ?? "";
  }

  /** Show a device; `quantity`: which one to chart, when it is about a case. */
  show(device: Device, quantity = ""): void {
    const same = this.device?.id === device.id && this.chart !== null;
    this.device = device;
    if (quantity) this.wished = quantity;
    if (!same || quantity) this.quantity = this.choose(device);
    this.draw();
    void this.load();
  }

  /** New values of the same device: the table changes, the chart stays. */
  update(device: Device): void {
    if (!this.values || device.id !== this.device?.id) return;
    this.device = device;
    const focused = this.values.contains(document.activeElement) ? document.activeElement?.getAttribute("data-quantity") : null;
    const table = this.table(device);
    this.values.replaceWith(table);
    this.values = table;
    if (device.account) this.panel.querySelector(".account")?.replaceWith(accountOf(device.account));
    this.orders?.refresh();
    const wanted = this.desired(device);
    this.panel.querySelector(".desired")?.replaceWith(...(wanted ? [wanted] : [h("section", { class: "desired", hidden: true })]));
    if (focused) table.querySelector<HTMLElement>(`[data-quantity="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  /** What to chart first: what the case is about, else the value furthest outside its band, else the first known. */
  private choose(device: Device): string {
    const shown = this.shown(device);
    const names = shown.map((value) => value.quantity);
    for (const wish of [this.wished, this.quantity]) if (names.includes(wish)) return wish;
    return (shown.find((value) => off(value)) ?? shown.find((value) => value.expected !== null) ?? shown[0])?.quantity ?? "";
  }

  private shown(device: Device): Value[] {
    return (device.values ?? []).filter((value) => value.value !== null && this.known(device, value)?.role !== "position");
  }

  private known(device: Device, value: Value): Quantity | null {
    return this.city.kinds[device.kind]?.quantities.find((q) => q.name === value.quantity) ?? null;
  }

  private draw(): void {
    const device = this.device!;
    const kind = this.city.kinds[device.kind];
    const canvas = h("canvas", { class: "chart", role: "img", "aria-label": t("loading") });
    this.readout = h("p", { class: "readout" });
    this.values = this.table(device);
    this.orders = ordersOf(device, kind, this.acts.command, (error) => this.acts.failed(error));
    const parts: (HTMLElement | null)[] = [
      h(
        "div",
        { class: "head" },
        h("h2", {}, device.id),
        h("span", { class: "count" }, named(kind, device.kind)),
        h("span", { class: "tag" }, t(`device_${STATES[device.state] ?? "unseen"}` as Word)),
        h("button", { type: "button", class: "quiet", "aria-label": t("back"), onclick: this.acts.leave }, "✕"),
      ),
      this.about(device),
      this.cases(device),
      this.desired(device) ?? h("section", { class: "desired", hidden: true }),
      this.quantity ? h("section", { class: "charted" }, this.ranges(device), canvas, this.readout) : null,
      h("section", {}, h("h3", {}, t("values")), this.values),
      device.account ? accountOf(device.account) : null,
      this.orders?.section ?? null,
    ];
    this.panel.replaceChildren(...parts.filter((part) => part !== null));
    delete this.panel.dataset["case"];
    this.chart = this.quantity ? new Chart(canvas, this.readout) : null;
  }

  private about(device: Device): HTMLElement {
    const relations = Object.entries(device.relations ?? {}).filter(([, id]) => id);
    const link = (id: string): Node => (this.acts.known(id) ? h("button", { type: "button", class: "link", onclick: () => this.acts.device(id) }, id) : h("span", {}, id));
    const note = device.origin === "recorded" ? t("recordedNote", this.city.attributions?.join("; ") ?? "") : "";
    return h(
      "section",
      {},
      h(
        "dl",
        { class: "pairs" },
        ...relations.flatMap(([name, id]) => [h("dt", {}, tOr(name, name)), h("dd", {}, link(id))]),
        ...(device.plate ? [h("dt", {}, t("plate")), h("dd", {}, this.plate(device.id, device.plate))] : []),
        ...(device.code16 ? [h("dt", {}, "URN"), h("dd", {}, device.urn ?? device.code16)] : []),
        h("dt", {}, ""),
        h("dd", {}, h("span", { class: `tag ${device.origin}` }, tOr(device.origin, device.origin)), note ? ` ${note}` : ""),
      ),
    );
  }

  /** The plate's pseudonym, with a button that asks why it should be told. */
  private plate(id: string, pseudonym: string): HTMLElement {
    const shown = h("span", { id: "plate", "aria-live": "polite" }, pseudonym);
    const { reveal } = this.acts;
    if (!reveal) return shown;
    const button = h("button", { type: "button", class: "quiet", id: "reveal" }, t("reveal"));
    button.onclick = () =>
      reveal(id).then(
        (plate) => {
          if (plate === null) return;
          shown.textContent = plate;
          button.remove();
        },
        (error: unknown) => this.acts.failed(error),
      );
    return h("span", {}, shown, button);
  }

  /** What orders want of the device, and whether it reports it. */
  private desired(device: Device): HTMLElement | null {
    if (!device.desired?.length) return null;
    const row = (one: Desired): HTMLElement => {
      const quantity = this.city.kinds[device.kind]?.quantities.find((q) => q.name === one.quantity);
      const shown = (x: number | null): string => (x === null ? "–" : number(x, quantity?.decimals ?? 2));
      const name = quantity ? named(quantity, quantity.name) : one.quantity;
      return h(
        "li",
        {},
        h("span", {}, t("desired_row", name, shown(one.value), shown(one.reported)), " "),
        h("span", { class: "tag" }, t(one.differs ? "desired_differs" : "desired_same")),
      );
    };
    return h("section", { class: "desired" }, h("h3", {}, t("desired")), h("ul", { class: "rowlist" }, ...device.desired.map(row)));
  }

  private cases(device: Device): HTMLElement | null {
    if (!device.cases?.length) return null;
    const row = (one: Case): HTMLElement =>
      h(
        "li",
        {},
        h("span", { class: "icon" }, severityIcon(one.severity, 16)),
        h("span", {}, h("button", { type: "button", class: "link", onclick: () => this.acts.openCase(one.id) }, typeName(one.type)), h("span", { class: "more" }, ` · ${tOr(`state_${one.state}`, one.state)}`)),
      );
    return h("section", {}, h("ul", { class: "rowlist" }, ...device.cases.map(row)));
  }

  private ranges(device: Device): HTMLElement {
    const quantity = this.city.kinds[device.kind]?.quantities.find((q) => q.name === this.quantity);
    const button = ([word, ms]: [Word, number]): HTMLElement => {
      const made = h("button", { type: "button", "aria-pressed": String(ms === this.range) }, t(word));
      made.onclick = () => {
        this.range = ms;
        for (const other of made.parentElement!.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === made));
        void this.load();
      };
      return made;
    };
    const name = quantity ? `${named(quantity, quantity.name)}${unitName(quantity.unit) ? ` (${unitName(quantity.unit)})` : ""}` : this.quantity;
    return h("div", { class: "ranges", role: "group", "aria-label": t("chartRange") }, h("span", { class: "name" }, name), ...RANGES.map(button));
  }

  private table(device: Device): HTMLTableElement {
    const rows = this.shown(device).map((value) => {
      const quantity = this.known(device, value);
      const decimals = quantity?.decimals ?? 1;
      const state = quantity?.role === "state" ? quantity.states[Math.round(value.value ?? -1)] : undefined;
      const observed = state !== undefined ? stateName(state) : `${number(value.value, decimals)} ${unitName(value.unit)}`;
      const band = value.low === null || value.high === null || state !== undefined ? "" : `${number(value.low, decimals)} … ${number(value.high, decimals)}`;
      const choose = (): void => {
        this.wished = this.quantity = value.quantity;
        this.draw();
        void this.load();
        this.panel.querySelector<HTMLElement>(`[data-quantity="${CSS.escape(value.quantity)}"]`)?.focus({ preventScroll: true });
        this.panel.querySelector(".charted")?.scrollIntoView({ block: "nearest" });
      };
      return h(
        "tr",
        { class: off(value) ? "off" : "", "aria-selected": String(value.quantity === this.quantity) },
        h("td", {}, h("button", { type: "button", class: "link", "data-quantity": value.quantity, onclick: choose }, quantity ? named(quantity, quantity.name) : value.quantity)),
        h("td", { class: "n" }, observed),
        h("td", { class: "n" }, band || t("none")),
        h("td", { class: "n" }, value.age_s === null ? t("none") : span(value.age_s * 1000)),
      );
    });
    return h(
      "table",
      {},
      h("thead", {}, h("tr", {}, h("th", {}, t("quantity")), h("th", { class: "n" }, t("observed")), h("th", { class: "n" }, t("band")), h("th", { class: "n" }, t("age")))),
      h("tbody", {}, ...rows),
    );
  }

  /** Fetch and draw the chart's series; a slower, older answer is thrown away. */
  async load(): Promise<void> {
    const { device, chart } = this;
    if (!device || !chart || !this.quantity) return;
    const turn = ++this.asked;
    const end = Math.round(this.acts.now());
    const start = end - this.range;
    const path = `/api/devices/${encodeURIComponent(device.id)}/series?quantity=${encodeURIComponent(this.quantity)}&start_ms=${start}&end_ms=${end}&points=800`;
    try {
      const series = await get<Series>(path);
      if (turn !== this.asked || chart !== this.chart) return;
      const quantity = this.city.kinds[device.kind]?.quantities.find((q) => q.name === series.quantity) ?? null;
      // Where there is a forecast the chart goes on into the next day, as far as it looks back.
      const ahead = series.forecast?.t_ms;
      const far = ahead && ahead[0]! - end < HOUR ? Math.min(ahead[ahead.length - 1]!, end + this.range) : end;
      chart.show(series, quantity, start, Math.max(end, far));
      if (this.readout && end - series.complete_to_ms > 120_000 && series.t_ms.length > 0) {
        this.readout.append(` · ${t("storedTo", dayTime(series.complete_to_ms))}`);
      }
    } catch (error) {
      if (turn === this.asked) this.acts.failed(error);
    }
  }
}

/** True if a value lies outside the band that was expected. */
function off(value: Value): boolean {
  if (value.value === null || value.low === null || value.high === null) return false;
  return value.value < value.low || value.value > value.high;
}
