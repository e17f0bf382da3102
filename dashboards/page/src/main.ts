// The page: loads the city, listens, and ties map, queue, panel and strip together.

import "./style.css";
import { enter, get, getBytes, newKey, post, Refused } from "./api";
import { drawCase, fetchCase, type Known } from "./casepanel";
import { DevicePanel } from "./devicepanel";
import { showAccount, whoShort } from "./account";
import { askReason, askWords, toast } from "./dialogs";
import { clean } from "./clean";
import { byId, h, setText } from "./dom";
import { Find } from "./find";
import { cityHour, clockTime, count, day, setZone } from "./format";
import { drawLegend } from "./legend";
import { listen, type Moved } from "./live";
import { askLogin, whoAmI, type Who } from "./login";
import { Fleet, STATES } from "./map/fleet";
import { type Hit, MapView } from "./map/view";
import { type Given, openOffice, sectionsOf } from "./office/office";
import { departmentName, ENDED, fits, Queue } from "./queue";
import type { Beat, Case, City, Clock, Device } from "./records";
import { showScores } from "./scorecard";
import { recall, remember, type Settings, type ThemeChoice } from "./settings";
import { drawStrip, Rate, showRejects } from "./strip";
import { type Desk } from "./steps";
import { named, sentence, setLanguage, spoken, t, typeName, type Word } from "./text";

const SMOOTHEST = 20; // above this speed of the city's clock trucks jump: their ways are no longer drawn between
const CHART_MS = 10_000;

class Page {
  private readonly settings: Settings = recall();
  private readonly cases = new Map<string, Case>();
  private closed: Case[] = [];
  private alsoClosed = false;
  private city!: City;
  private fleet!: Fleet;
  private devices!: DevicePanel;
  private readonly map: MapView;
  private readonly queue: Queue;
  private readonly find: Find;
  private readonly rate = new Rate();
  private perSecond: number | null = null;
  private clock: Clock = { city_ms: Date.now(), speed: 1 };
  private clockAt = performance.now();
  private beat: Beat | null = null;
  private shown: { case?: Known; device?: string } = {};
  private linked = true;
  private who!: Who;
  private started = false;
  private unheard = false; // the first whole queue has not come yet
  private chartAt = 0;
  private turn = 0; // what the panel is to show was chosen so often: a slower, older answer is thrown away
  private refreshing = false;
  private theme: "dark" | "light" = "dark";

  constructor() {
    this.map = new MapView(byId("map"), { hover: (hit) => this.hover(hit), click: (hit) => this.click(hit) });
    this.queue = new Queue(byId("whistles"), (id) => void this.openCase(id));
    this.find = new Find((row) => void this.openDevice(this.fleet.ids[row]!, true));
  }

  async start(): Promise<void> {
    (byId("legend") as HTMLDetailsElement).open = innerWidth >= 1600 && innerHeight >= 900;
    setLanguage(this.settings.language);
    this.dress();
    await enter();
    const who = await whoAmI();
    if (who) this.who = who;
    else await this.outside();
    await this.loadCity(false);
    this.wire();
    this.started = true;
    this.speak();
    this.unheard = true;
    listen({ beat: (beat) => this.hear(beat), moved: (moved) => this.moved(moved), linked: (up) => this.link(up) });
    setInterval(() => this.second(), 1000);
  }

  /** Nobody is logged in: the form takes name and password, and says how to come in without. */
  private async outside(): Promise<void> {
    setText(byId("product"), t("product"));
    this.who = await askLogin((language) => {
      this.settings.language = language;
      remember(this.settings);
      this.dress();
      setText(byId("product"), t("product"));
    });
  }

  /** Whether the role may; the server decides anyway. */
  private may(permission: string): boolean {
    return this.who.may.includes(permission);
  }

  // -- the city ----------------------------------------------------------------------------------------------------

  private async loadCity(keep: boolean): Promise<void> {
    const [city, bytes] = await Promise.all([get<City>("/api/city"), getBytes("/api/devices")]);
    this.city = city;
    this.fleet = new Fleet(bytes);
    setZone(city.timezone);
    this.tell(city.clock);
    this.queue.setCity(city);
    this.find.setCity(city, this.fleet);
    this.devices = new DevicePanel(byId("panel"), city, {
      leave: () => this.leave(),
      device: (id) => void this.openDevice(id, true),
      openCase: (id) => void this.openCase(id),
      known: (id) => this.fleet.rowOf(id) >= 0,
      failed: (error) => this.failed(error),
      now: () => this.now(),
      reveal: this.may("reveal") ? (id) => this.reveal(id) : null,
      command: this.may("command"),
    });
    this.dress();
    this.map.show(city, this.fleet, keep);
  }

  private tell(clock: Clock): void {
    this.clock = clock;
    this.clockAt = performance.now();
  }

  /** City time now, ms. */
  private now(): number {
    return this.clock.city_ms + (this.linked ? (performance.now() - this.clockAt) * this.clock.speed : 0);
  }

  // -- what comes in -------------------------------------------------------------------------------------------------

  private hear(beat: Beat): void {
    this.beat = beat;
    this.tell(beat.clock);
    if (beat.city_version !== this.fleet.version && !this.refreshing) {
      this.refreshing = true;
      this.loadCity(true).then(() => this.speak(), (error: unknown) => this.failed(error)).finally(() => (this.refreshing = false));
    }
    const { reset, changed, gone } = beat.cases;
    if (reset || changed.length || gone.length) this.takeCases(reset, changed, gone);
    this.perSecond = this.rate.take(beat.account.received, performance.now());
    this.strip();
    this.health();
  }

  private strip(): void {
    const show = (): void => void showRejects().catch((error: unknown) => this.failed(error));
    if (this.beat) drawStrip(byId("strip"), this.beat.account, this.perSecond, this.may("account") ? show : null);
  }

  private takeCases(reset: boolean, changed: Case[], gone: string[]): void {
    const before = new Set(this.cases.keys());
    if (reset) this.cases.clear();
    for (const id of gone) this.cases.delete(id);
    for (const one of changed) this.cases.set(one.id, one);
    const fresh = this.unheard ? [] : changed.filter((one) => !before.has(one.id));
    this.unheard = false;
    if (this.alsoClosed && gone.length) void this.fetchClosed();
    this.drawQueue(new Set(fresh.map((one) => one.id)));
    if (fresh.length) {
      const worst = fresh.reduce((a, b) => (b.severity > a.severity ? b : a));
      setText(byId("announce"), t("newWhistle", t(`severity${Math.min(4, Math.max(1, worst.severity))}` as Word), sentence(worst) || typeName(worst.type)));
    }
    const open = this.shown.case?.case.id;
    if (open && (gone.includes(open) || changed.some((one) => one.id === open))) void this.refreshCase(open);
  }

  private moved(moved: Moved): void {
    if (this.refreshing) return;
    this.fleet.apply(moved, performance.now(), this.clock.speed <= SMOOTHEST);
    this.map.refresh(false);
    this.census();
  }

  private link(up: boolean): void {
    if (up === this.linked) return;
    if (!up) this.tell({ ...this.clock, city_ms: this.now() });
    this.linked = up;
    this.health();
    if (up && this.started) void this.recheck();
    // A socket that was refused may mean that the session has ended: an ordinary call says so in words.
    if (!up) get("/api/health").catch((error: unknown) => this.failed(error));
  }

  /** After the stream was away: the same person, with the same role? Else the page begins anew. */
  private async recheck(): Promise<void> {
    try {
      const who = await whoAmI();
      if (who?.name !== this.who.name || who.role !== this.who.role) location.reload();
    } catch (error) {
      this.failed(error);
    }
  }

  private second(): void {
    const now = this.now();
    setText(byId("time"), clockTime(now));
    setText(byId("date"), day(now));
    this.queue.tick(now);
    this.dress();
    const id = this.shown.device;
    if (id && this.linked && performance.now() - this.chartAt > CHART_MS) {
      this.chartAt = performance.now();
      get<Device>(`/api/devices/${encodeURIComponent(id)}`).then(
        (device) => {
          if (this.shown.device !== id) return;
          this.devices.update(device);
          void this.devices.load();
        },
        (error: unknown) => this.failed(error),
      );
    }
  }

  // -- drawing -------------------------------------------------------------------------------------------------------

  private drawQueue(fresh: Set<string> = new Set()): void {
    const open = [...this.cases.values()].filter((one) => !one.parent).sort(newest);
    const known = new Set(open.map((one) => one.id));
    const all = this.alsoClosed ? [...open, ...this.closed.filter((one) => !known.has(one.id))].sort(newest) : open;
    const todo = open.filter((one) => one.state === "dispatched" || (one.state === "filed" && this.may("step:dispatch")));
    const least = Number((byId("least") as HTMLSelectElement).value || 1);
    const wish = (byId("filter") as HTMLInputElement).value.trim();
    this.queue.narrowed = wish !== "" || least > 1;
    const narrow = (list: Case[]): Case[] => (this.queue.narrowed ? list.filter((one) => fits(one, this.city, wish, least)) : list);
    this.queue.show(narrow(this.queue.todo ? todo.sort(gravest) : all), this.now(), fresh);
    setText(byId("queuecount"), this.queue.narrowed ? t("filtered", count(narrow(open).length), count(open.length)) : `${count(open.length)} ${t("open")}`);
    setText(byId("todo"), `${t("todo")} ${count(todo.length)}`);
    const pins = open.filter((one) => one.lon !== null && one.lat !== null);
    this.map.setPins(pins.map((one) => ({ id: one.id, lon: one.lon!, lat: one.lat!, severity: one.severity, subject: one.subject })));
    document.title = clean(`${open.length ? `(${open.length}) ` : ""}${t("product")} · ${named({ en: this.city.name, zh: this.city.name_zh }, this.city.name)}`);
  }

  private async fetchClosed(): Promise<void> {
    try {
      this.closed = (await get<Case[]>("/api/cases?open_only=false&limit=200")).filter((one) => ENDED.includes(one.state));
      this.drawQueue();
    } catch (error) {
      this.failed(error);
    }
  }

  private census(): void {
    const counts = this.fleet.census();
    const item = (text: string, n?: number): HTMLElement => h("li", {}, n === undefined ? text : h("b", {}, count(n)), n === undefined ? "" : ` ${text}`);
    const told = (states: number[]): HTMLElement[] => states.filter((state) => counts[state]! > 0).map((state) => item(t(`census_${STATES[state]!}` as Word), counts[state]!));
    byId("census").replaceChildren(...told([3, 2, 4]), item(t("devices", count(this.fleet.n))), ...told([1, 5]));
  }

  private health(): void {
    const troubles = this.beat?.health.troubles ?? [];
    const loud = troubles.filter((trouble) => trouble.level >= 2);
    const chip = byId("health");
    const level = this.linked ? Math.max(0, ...troubles.map((trouble) => trouble.level)) : 3;
    chip.dataset["level"] = String(level);
    const all = troubles.length + (this.linked ? 0 : 1);
    setText(chip, level === 0 ? t("healthGood") : t("healthBad", all));
    const opened = chip.getAttribute("aria-expanded") === "true";
    const lines = [...(this.linked ? [] : [t("offline")]), ...(opened ? troubles : loud).map((trouble) => trouble[spoken()])];
    const banner = byId("banner");
    if (banner.textContent !== lines.join("")) banner.replaceChildren(...lines.map((line) => h("p", {}, line)));
    banner.hidden = lines.length === 0;
  }

  /** Language, theme and text size onto the document. */
  private dress(): void {
    const root = document.documentElement;
    const hour = this.city ? cityHour(this.now()) : new Date().getHours();
    const night = hour < 7 || hour >= 19;
    const theme = this.settings.theme === "auto" ? (night ? "dark" : "light") : this.settings.theme;
    root.lang = spoken() === "zh" ? "zh-CN" : "en";
    if (root.dataset["theme"] !== theme || this.theme !== theme) {
      root.dataset["theme"] = this.theme = theme;
      this.map.setTheme(theme);
      if (this.city) drawLegend(byId("legend") as HTMLDetailsElement, this.city, this.fleet.kinds, theme);
    }
    root.toggleAttribute("data-large", this.settings.large);
  }

  /** Every fixed word of the page, again. */
  private speak(): void {
    const label = (id: string, word: Word): void => byId(id).setAttribute("aria-label", t(word));
    setText(byId("product"), t("product"));
    setText(byId("cityname"), named({ en: this.city.name, zh: this.city.name_zh }, this.city.name));
    setText(byId("queuetitle"), t("queue"));
    setText(byId("queuehelp"), t("queueHelp"));
    setText(byId("alsoclosed"), t("showClosed"));
    byId("todo").title = t("todoLabel");
    setText(byId("skip"), t("skip"));
    setText(byId("scores"), t("scoreOpen"));
    setText(byId("office"), t("officeOpen"));
    byId("office").hidden = sectionsOf((permission) => this.may(permission)).length === 0;
    (byId("filter") as HTMLInputElement).placeholder = t("filter");
    label("filter", "filterLabel");
    label("least", "leastLabel");
    const least = byId("least") as HTMLSelectElement;
    const chosen = least.value;
    least.replaceChildren(...[1, 2, 3, 4].map((n) => {
      const word = t(`severity${n}` as Word);
      return h("option", { value: String(n) }, n === 1 ? t("leastAll") : n === 4 ? word : t("leastFrom", word));
    })); // prettier-ignore
    least.value = chosen || "1";
    setText(byId("language"), t("language"));
    byId("language").lang = spoken() === "zh" ? "en" : "zh-CN";
    label("language", "languageLabel");
    const theme = t(`theme_${this.settings.theme}`);
    setText(byId("theme"), theme);
    byId("theme").setAttribute("aria-label", t("themeLabel", theme));
    setText(byId("large"), t("largeText"));
    byId("large").setAttribute("aria-pressed", String(this.settings.large));
    label("map", "map");
    label("zoomin", "zoomIn");
    label("zoomout", "zoomOut");
    label("fit", "fit");
    label("strip", "accounting");
    const { mode, speed } = this.clock;
    const told = [mode && mode !== "real" ? t(`clock_${mode}`) : "", speed !== 1 ? t("speed", speed) : ""];
    setText(byId("mode"), told.filter(Boolean).join(" "));
    setText(byId("credit"), [this.city.attribution, ...(this.city.attributions ?? [])].filter(Boolean).join(" · "));
    const who = byId("who");
    who.hidden = false;
    setText(who, whoShort(this.who));
    who.setAttribute("aria-label", t("account", whoShort(this.who)));
    this.find.speak();
    drawLegend(byId("legend") as HTMLDetailsElement, this.city, this.fleet.kinds, this.theme);
    this.census();
    this.drawQueue();
    this.strip();
    this.health();
    this.second();
    this.redrawPanel();
  }

  private redrawPanel(): void {
    const { case: known, device } = this.shown;
    if (known) this.drawKnown(known);
    else if (device) void this.openDevice(device, false);
  }

  // -- what an operator does -----------------------------------------------------------------------------------------

  private wire(): void {
    byId("scores").onclick = () => void showScores((error) => this.failed(error)).catch((error: unknown) => this.failed(error));
    byId("office").onclick = () => this.office();
    byId("filter").oninput = () => this.drawQueue();
    byId("least").onchange = () => this.drawQueue();
    byId("language").onclick = () => this.choose({ language: spoken() === "zh" ? "en" : "zh" });
    byId("theme").onclick = () => {
      const next: Record<ThemeChoice, ThemeChoice> = { auto: "dark", dark: "light", light: "auto" };
      this.choose({ theme: next[this.settings.theme] });
    };
    byId("large").onclick = () => this.choose({ large: !this.settings.large });
    byId("who").onclick = () => void showAccount(this.who, this.city, () => location.reload()).catch((error: unknown) => this.failed(error));
    byId("zoomin").onclick = () => this.map.zoomBy(0.7);
    byId("zoomout").onclick = () => this.map.zoomBy(-0.7);
    byId("fit").onclick = () => this.map.fit(this.city);
    byId("health").onclick = (event) => {
      const chip = event.currentTarget as HTMLElement;
      chip.setAttribute("aria-expanded", String(chip.getAttribute("aria-expanded") !== "true"));
      this.health();
    };
    byId("alsoclosed").onclick = (event) => {
      this.alsoClosed = !this.alsoClosed;
      (event.currentTarget as HTMLElement).setAttribute("aria-pressed", String(this.alsoClosed));
      if (this.alsoClosed) void this.fetchClosed();
      else this.drawQueue();
    };
    byId("todo").onclick = () => this.onlyTodo();
    document.addEventListener("keydown", (event) => this.key(event));
  }

  private office(): void {
    const given: Given = {
      who: this.who,
      city: this.city,
      may: (permission) => this.may(permission),
      now: () => this.now(),
      known: (id) => this.fleet.rowOf(id) >= 0,
    };
    openOffice(given, { case: (id) => void this.openCase(id), device: (id) => void this.openDevice(id, true) });
  }

  /** What the steps of a case need of the page. */
  private steps(): Desk {
    return {
      city: this.city,
      open: [...this.cases.values()],
      now: () => this.now(),
      done: (id) => void this.refreshCase(id),
    };
  }

  /** Show only what nobody has accepted, gravest first; or everything, newest first. */
  private onlyTodo(): void {
    this.queue.todo = !this.queue.todo;
    byId("todo").setAttribute("aria-pressed", String(this.queue.todo));
    this.drawQueue();
  }

  /** Take a choice, remember it, and say everything again. */
  private choose(change: Partial<Settings>): void {
    Object.assign(this.settings, change);
    remember(this.settings);
    setLanguage(this.settings.language);
    this.dress();
    this.speak();
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    const dialog = target.closest("dialog"); // one that was just closed may still hold the focus for a frame
    const typing = dialog ? dialog.open : target.closest("input, textarea, select") !== null;
    if (target.id === "filter" && event.key === "Escape") target.blur();
    if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
    const one = this.shown.case?.case;
    if (event.key === "j" || event.key === "k") {
      const id = this.queue.neighbour(event.key === "j" ? 1 : -1);
      if (id) void this.openCase(id);
    } else if (event.key === "a" && one) void this.accept(one);
    else if (event.key === "c" && one) void this.close(one);
    else if (event.key === "t") this.onlyTodo();
    else if (event.key === "/") this.find.focus();
    else if (event.key === "Escape") this.leave();
    else return;
    event.preventDefault();
  }

  private async openCase(id: string, go = true): Promise<void> {
    this.queue.select(id);
    const turn = ++this.turn;
    try {
      const known = await fetchCase(id);
      if (this.turn !== turn) return;
      if (!known) {
        toast(t("gone"));
        return;
      }
      this.shown = { case: known };
      byId("panel").hidden = false;
      this.drawKnown(known);
      const row = this.fleet.rowOf(known.case.subject);
      this.map.select(row);
      if (go && row >= 0) this.map.goTo(this.fleet.x[row]!, this.fleet.y[row]!);
      else if (go && known.case.lon !== null && known.case.lat !== null) this.map.goToLonLat(known.case.lon, known.case.lat);
    } catch (error) {
      this.failed(error);
    }
  }

  /** The case that is shown has changed: draw it anew, unless the operator has left it or is on the way elsewhere. */
  private async refreshCase(id: string): Promise<void> {
    const turn = this.turn;
    try {
      const known = this.shown.case?.case.id === id ? await fetchCase(id) : null;
      if (!known || this.turn !== turn) return;
      this.shown = { case: known };
      this.drawKnown(known);
    } catch (error) {
      this.failed(error);
    }
  }

  private drawKnown(known: Known): void {
    drawCase(byId("panel"), known, this.city, this.now(), {
      accept: (one) => void this.accept(one),
      close: (one) => void this.close(one),
      resend: async (one, key) => {
        await post(`/api/cases/${encodeURIComponent(one.id)}/resend`, { key, reason: "" }, newKey());
        await this.refreshCase(one.id);
      },
      leave: () => this.leave(),
      device: (id) => void this.openDevice(id, true),
      openCase: (id) => void this.openCase(id),
      known: (id) => this.fleet.rowOf(id) >= 0,
      failed: (error) => this.failed(error),
      steps: this.steps(),
    });
  }

  private async openDevice(id: string, go: boolean): Promise<void> {
    const about = this.shown.case?.case;
    const quantity = about?.subject === id ? about.evidence["quantity"] : undefined;
    const turn = ++this.turn;
    try {
      const device = await get<Device>(`/api/devices/${encodeURIComponent(id)}`);
      if (this.turn !== turn) return;
      this.shown = { device: id };
      this.chartAt = performance.now();
      this.queue.select("");
      byId("panel").hidden = false;
      this.devices.show(device, typeof quantity === "string" ? quantity : "");
      const row = this.fleet.rowOf(id);
      this.map.select(row);
      if (go && row >= 0) this.map.goTo(this.fleet.x[row]!, this.fleet.y[row]!);
    } catch (error) {
      this.failed(error);
    }
  }

  private leave(): void {
    this.turn++;
    this.shown = {};
    this.queue.select("");
    this.map.select(-1);
    byId("panel").hidden = true;
    byId("panel").replaceChildren();
  }

  private async accept(one: Case): Promise<void> {
    if (!one.can?.includes("accept")) return;
    await this.act(one, "accept", {}, "accepted");
  }

  private async close(one: Case): Promise<void> {
    if (!one.can?.includes("close")) return;
    const reason = await askReason(sentence(one));
    if (reason) await this.act(one, "close", { reason }, "closed");
  }

  private async act(one: Case, verb: "accept" | "close", body: object, said: "accepted" | "closed"): Promise<void> {
    const buttons = byId("panel").querySelectorAll<HTMLButtonElement>(".acts button");
    for (const button of buttons) button.disabled = true;
    try {
      const after = await post<Case>(`/api/cases/${encodeURIComponent(one.id)}/${verb}`, body, newKey());
      if (ENDED.includes(after.state)) this.cases.delete(after.id);
      else this.cases.set(after.id, after);
      this.drawQueue();
      toast(t(said, `${typeName(after.type)}, ${after.subject} (${departmentName(this.city, after.department)})`));
      await this.refreshCase(one.id);
    } catch (error) {
      this.failed(error);
      for (const button of buttons) button.disabled = false;
    }
  }

  /** The plate of a truck, for a reason; null when the operator thought better of it. */
  private async reveal(device: string): Promise<string | null> {
    const reason = await askWords(t("revealTitle", device), t("revealWhy"), t("revealNow"));
    if (!reason) return null;
    const about = this.shown.case?.case ?? [...this.cases.values()].find((one) => one.subject === device);
    return (await post<{ value: string }>("/api/reveals", { subject: device, reason, case: about?.id ?? "" }, null)).value;
  }

  private click(hit: Hit): void {
    if (hit.pin) void this.openCase(hit.pin.id, false);
    else if (hit.row >= 0) void this.openDevice(this.fleet.ids[hit.row]!, false);
    else this.leave();
  }

  private hover(hit: Hit): void {
    const tip = byId("tip");
    byId("map").classList.toggle("pointing", hit.row >= 0 || hit.pin !== null);
    tip.hidden = hit.row < 0 && !hit.pin;
    if (tip.hidden) return;
    const { fleet } = this;
    const lines: Node[] = [];
    if (hit.row >= 0) {
      const kind = fleet.kinds[fleet.kind[hit.row]!]!;
      const origin = fleet.origins[fleet.origin[hit.row]!]!;
      const state = t(`device_${STATES[fleet.state[hit.row]!]!}` as Word);
      lines.push(h("div", {}, h("b", {}, fleet.ids[hit.row]!), h("span", {}, ` ${named(this.city.kinds[kind], kind)} · ${state}${origin === "recorded" ? ` · ${t("recorded")}` : ""}`)));
    }
    const one = hit.pin ? this.cases.get(hit.pin.id) : undefined;
    if (one) lines.push(h("div", {}, sentence(one)));
    tip.replaceChildren(...lines);
    const { width, height } = byId("map").getBoundingClientRect();
    const [w, high] = [tip.offsetWidth, tip.offsetHeight];
    tip.style.left = `${Math.max(4, Math.min(hit.px + 14, width - w - 4))}px`;
    tip.style.top = `${hit.py + 18 + high > height ? hit.py - high - 12 : hit.py + 18}px`;
  }

  private failed(error: unknown): void {
    if (error instanceof Refused && error.status === 401) {
      toast(t("noSession"));
      if (this.started && this.who.way === "session") location.reload(); // ended, disabled or too old: the form again
    }
    else if (error instanceof Refused) toast(t("failed", error.detail, error.fix));
    else if (error instanceof TypeError) toast(t("offline")); // fetch's word for no connection
    else throw error;
  }

  /** What bench and tests look at. */
  get seen(): { map: MapView; fleet: Fleet } {
    return { map: this.map, fleet: this.fleet };
  }
}

function gravest(a: Case, b: Case): number {
  return b.severity - a.severity || newest(a, b);
}

function newest(a: Case, b: Case): number {
  return b.opened_ms - a.opened_ms || (a.id < b.id ? 1 : -1);
}

const page = new Page();
declare global {
  interface Window {
    citywhistle: Page;
  }
}
window.citywhistle = page;
page.start().catch((error: unknown) => {
  if (!(error instanceof Refused)) throw error;
  const banner = byId("banner");
  banner.hidden = false;
  banner.textContent = error.status === 401 ? t("noSession") : `${error.detail} ${error.fix}`;
});
