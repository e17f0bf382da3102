// The one chart: observed against expected with its band, drawn on canvas 2D. Gaps stay gaps.

import { clockTime, dayTime, number, shortDay, shortTime, unitName } from "./format";
import type { Ahead, Quantity, Series } from "./records";
import { named, spoken, stateName, t } from "./text";

interface Colours {
  observed: string;
  expected: string;
  band: string;
  outside: string;
  grid: string;
  text: string;
}

const MARGIN = { left: 46, right: 10, top: 10, bottom: 22 }; // `left` at least; long labels get more
const FONT = "12px system-ui, sans-serif";
const MINUTE = 60_000;
const STEPS = [MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, 60 * MINUTE, 180 * MINUTE, 360 * MINUTE, 720 * MINUTE, 1440 * MINUTE];

export class Chart {
  private series: Series | null = null;
  private quantity: Quantity | null = null;
  private start = 0;
  private end = 1;
  private mark = 0; // a moment that is pointed out, 0: none
  private pointer = -1;
  private left = MARGIN.left;
  private readonly context: CanvasRenderingContext2D;

  constructor(private readonly canvas: HTMLCanvasElement, private readonly readout: HTMLElement) {
    const context = canvas.getContext("2d");
    if (!context) throw new Error("no 2D canvas");
    this.context = context;
    canvas.addEventListener("pointermove", (event) => this.point(event.clientX - canvas.getBoundingClientRect().left));
    canvas.addEventListener("pointerleave", () => this.point(-1));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  show(series: Series | null, quantity: Quantity | null, start: number, end: number, mark = 0): void {
    [this.series, this.quantity, this.start, this.end, this.mark] = [series, quantity, start, end, mark];
    this.draw();
    this.say();
  }

  private point(x: number): void {
    this.pointer = x;
    this.draw();
    this.say();
  }

  private colours(): Colours {
    const style = getComputedStyle(this.canvas);
    const of = (name: string): string => style.getPropertyValue(name).trim();
    return {
      observed: of("--chart-observed"), expected: of("--chart-expected"), band: of("--chart-band"),
      outside: of("--chart-outside"), grid: of("--line"), text: of("--muted"),
    }; // prettier-ignore
  }

  /** Lowest and highest of everything shown, with a little air. */
  private extent(): [number, number] {
    const { series, quantity } = this;
    if (quantity?.role === "state") return [-0.2, Math.max(1, quantity.states.length - 1) + 0.2];
    let [low, high] = [Infinity, -Infinity];
    const ahead = this.ahead();
    for (const list of [series?.observed, series?.low, series?.high, ahead?.low, ahead?.high]) {
      for (const value of list ?? []) {
        if (value === null) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    if (low > high) return [0, 1];
    const air = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [quantity && quantity.low === 0 ? Math.max(0, low - air) : low - air, high + air];
  }

  draw(): void {
    const { canvas, context, series } = this;
    const { width, height } = canvas.getBoundingClientRect();
    if (width < 10) return;
    const dpr = Math.min(2, devicePixelRatio || 1);
    const [w, h] = [Math.round(width * dpr), Math.round(height * dpr)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
    }
    context.setTransform(dpr, 0, 0, dpr, 0, 0);
    context.clearRect(0, 0, width, height);
    const colours = this.colours();
    const [low, high] = this.extent();
    const marks = this.marks(low, high);
    const x = (ms: number): number => this.left + ((ms - this.start) / (this.end - this.start)) * (width - this.left - MARGIN.right);
    const y = (v: number): number => height - MARGIN.bottom - ((v - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
    this.axes(width, height, marks, x, y, colours);
    if (this.mark > this.start && this.mark < this.end) {
      context.fillStyle = colours.outside;
      context.globalAlpha = 0.1;
      context.fillRect(x(this.mark), 0, x(this.end) - x(this.mark), height - MARGIN.bottom);
      context.globalAlpha = 1;
      context.fillRect(Math.round(x(this.mark)), 0, 1.5, height - MARGIN.bottom);
    }
    if (!series || (series.t_ms.length === 0 && !this.ahead())) return;
    context.save();
    context.beginPath();
    context.rect(this.left, 0, width - this.left - MARGIN.right, height - MARGIN.bottom + 1);
    context.clip();
    for (const [from, to] of runs(series.t_ms)) {
      this.band(series, from, to, x, y, colours);
      this.line(series.t_ms, series.expected, from, to, x, y, colours.expected, 1.2, [4, 3]);
      this.line(series.t_ms, series.observed, from, to, x, y, colours.observed, 1.6, []);
    }
    this.future(x, y, height, colours);
    if (this.quantity?.role !== "state") this.outside(series, x, y, colours.outside);
    context.restore();
    if (series.t_ms.length > 0) this.cross(series, x, y, height, colours);
  }

  /** The values that get a line, with their labels; the left margin becomes as wide as these need. */
  private marks(low: number, high: number): [number, string][] {
    const { context, quantity } = this;
    const step = niceStep((high - low) / 4);
    const told: [number, string][] =
      quantity?.role === "state" ? quantity.states.map((state, i) => [i, stateName(state)]) : range(Math.ceil(low / step) * step, high, step).map((value) => [value, axisLabel(value, step)]);
    context.font = FONT;
    this.left = Math.max(MARGIN.left, ...told.map(([, text]) => context.measureText(text).width + 12));
    return told;
  }

  private axes(
    width: number, height: number, marks: [number, string][], x: (ms: number) => number, y: (v: number) => number, colours: Colours,
  ): void { // prettier-ignore
    const { context } = this;
    context.font = FONT;
    context.strokeStyle = colours.grid;
    context.fillStyle = colours.text;
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const [mark, text] of marks) {
      const at = Math.round(y(mark)) + 0.5;
      context.beginPath();
      context.moveTo(this.left, at);
      context.lineTo(width - MARGIN.right, at);
      context.stroke();
      context.fillText(text, this.left - 6, at);
    }
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    const room = this.end - this.start;
    const ticks = STEPS.find((s) => room / s <= Math.max(3, width / 80)) ?? 1440 * MINUTE;
    for (let ms = Math.ceil(this.start / ticks) * ticks; ms <= this.end; ms += ticks) {
      const text = ticks >= 1440 * MINUTE ? shortDay(ms) : shortTime(ms);
      const half = context.measureText(text).width / 2;
      if (x(ms) - half < this.left - 20 || x(ms) + half > width) continue;
      context.fillText(text, x(ms), height - 6);
    }
  }

  private band(series: Series, from: number, to: number, x: (ms: number) => number, y: (v: number) => number, colours: Colours): void {
    const { context } = this;
    context.fillStyle = colours.band;
    for (const [start, stop] of known(series.low, series.high, from, to)) {
      context.beginPath();
      for (let i = start; i < stop; i++) context.lineTo(x(series.t_ms[i]!), y(series.high[i]!));
      for (let i = stop - 1; i >= start; i--) context.lineTo(x(series.t_ms[i]!), y(series.low[i]!));
      context.closePath();
      context.fill();
    }
  }

  /** The forecast, where the chart reaches into the future. */
  private ahead(): Ahead | null {
    const ahead = this.series?.forecast ?? null;
    return ahead && ahead.t_ms.length > 1 && this.end > ahead.t_ms[0]! + MINUTE ? ahead : null;
  }

  /** What comes: both bands, the expected value, and a line at now. */
  private future(x: (ms: number) => number, y: (v: number) => number, height: number, colours: Colours): void {
    const ahead = this.ahead();
    if (!ahead) return;
    const { context } = this;
    context.fillStyle = colours.band;
    for (const [low, high, alpha] of [[ahead.low, ahead.high, 0.5], [ahead.low80, ahead.high80, 1]] as const) {
      context.globalAlpha = alpha;
      context.beginPath();
      ahead.t_ms.forEach((ms, i) => context.lineTo(x(ms), y(high[i]!)));
      for (let i = ahead.t_ms.length - 1; i >= 0; i--) context.lineTo(x(ahead.t_ms[i]!), y(low[i]!));
      context.closePath();
      context.fill();
    }
    context.globalAlpha = 1;
    this.line(ahead.t_ms, ahead.expected, 0, ahead.t_ms.length, x, y, colours.expected, 1.6, [2, 3]);
    const now = Math.round(x(ahead.t_ms[0]!)) + 0.5;
    context.strokeStyle = colours.text;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(now, MARGIN.top);
    context.lineTo(now, height - MARGIN.bottom);
    context.stroke();
  }

  private line(
    t_ms: number[], values: (number | null)[], from: number, to: number, x: (ms: number) => number, y: (v: number) => number,
    colour: string, width: number, dash: number[],
  ): void { // prettier-ignore
    const { context, quantity } = this;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.setLineDash(dash);
    context.beginPath();
    let drawing = false;
    for (let i = from; i < to; i++) {
      const value = values[i];
      if (value === null || value === undefined) {
        drawing = false;
        continue;
      }
      if (!drawing) context.moveTo(x(t_ms[i]!), y(value));
      else {
        if (quantity?.role === "state") context.lineTo(x(t_ms[i]!), y(values[i - 1] ?? value));
        context.lineTo(x(t_ms[i]!), y(value));
      }
      drawing = true;
    }
    context.stroke();
    context.setLineDash([]);
    if (to - from === 1 && values[from] !== null) context.strokeRect(x(t_ms[from]!) - 1, y(values[from]!) - 1, 2, 2);
  }

  /** Readings outside their band are marked: what the whistle is about. */
  private outside(series: Series, x: (ms: number) => number, y: (v: number) => number, colour: string): void {
    this.context.fillStyle = colour;
    series.t_ms.forEach((ms, i) => {
      const [value, low, high] = [series.observed[i], series.low[i], series.high[i]];
      if (value === null || value === undefined || low === null || low === undefined || high === null || high === undefined) return;
      if (value < low || value > high) this.context.fillRect(x(ms) - 1.25, y(value) - 1.25, 2.5, 2.5);
    });
  }

  private nearest(series: Series): number {
    const { width } = this.canvas.getBoundingClientRect();
    const ms = this.start + ((this.pointer - this.left) / (width - this.left - MARGIN.right)) * (this.end - this.start);
    let [low, high] = [0, series.t_ms.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (series.t_ms[middle]! < ms) low = middle + 1;
      else high = middle;
    }
    return low > 0 && ms - series.t_ms[low - 1]! < series.t_ms[low]! - ms ? low - 1 : low;
  }

  private cross(series: Series, x: (ms: number) => number, y: (v: number) => number, height: number, colours: Colours): void {
    if (this.pointer < this.left) return;
    const i = this.nearest(series);
    const { context } = this;
    context.strokeStyle = colours.text;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(x(series.t_ms[i]!)) + 0.5, MARGIN.top);
    context.lineTo(Math.round(x(series.t_ms[i]!)) + 0.5, height - MARGIN.bottom);
    context.stroke();
    const value = series.observed[i];
    if (value === null || value === undefined) return;
    context.fillStyle = colours.observed;
    context.beginPath();
    context.arc(x(series.t_ms[i]!), y(value), 3, 0, 2 * Math.PI);
    context.fill();
  }

  /** The chart in words: what is under the pointer, or the last value; also what a screen reader hears. */
  private say(): void {
    const { series, quantity } = this;
    if (!series || !quantity || series.t_ms.length === 0) {
      this.readout.textContent = series ? t("noSeries") : "";
      this.canvas.setAttribute("aria-label", t("noSeries"));
      return;
    }
    const i = this.pointer >= this.left ? this.nearest(series) : series.t_ms.length - 1;
    const unit = unitName(series.unit);
    const show = (value: number | null | undefined): string => {
      const state = quantity.role === "state" && typeof value === "number" ? quantity.states[value] : undefined;
      if (state !== undefined) return stateName(state);
      return `${number(value, quantity.decimals)}${unit && value !== null ? ` ${unit}` : ""}`;
    };
    const [low, high] = [series.low[i] ?? null, series.high[i] ?? null];
    const name = named({ en: quantity.en, zh: quantity.zh }, quantity.name);
    const at = this.end - this.start > 86_400_000 ? dayTime(series.t_ms[i]!) : clockTime(series.t_ms[i]!);
    const band = low === null || high === null ? "" : ` · ${t("expected")} ${show(series.expected[i])} (${show(low)} … ${show(high)})`;
    this.readout.textContent = `${at}  ${t("observed")} ${show(series.observed[i])}${band}`;
    const said = low === null ? t("chartNoBand", name, show(series.observed[i])) : t("chartSaid", name, show(series.observed[i]), show(low), show(high));
    const ahead = this.ahead();
    const last = ahead ? ahead.t_ms.length - 1 : 0;
    const coming = ahead ? t("chartAhead", show(ahead.expected[last]), show(ahead.low[last]), show(ahead.high[last])) : "";
    if (coming && this.pointer < this.left) this.readout.append(` · ${coming}`);
    this.canvas.setAttribute("aria-label", coming ? `${said}. ${coming}` : said);
    this.canvas.lang = spoken();
  }
}

/** Runs of readings without a gap: a gap is more than 3.5 times the median step. */
export function runs(t_ms: number[]): [number, number][] {
  const n = t_ms.length;
  const steps = t_ms.slice(1).map((ms, i) => ms - t_ms[i]!).sort((a, b) => a - b);
  const most = 3.5 * (steps[steps.length >> 1] ?? 0);
  const found: [number, number][] = [];
  let from = 0;
  for (let i = 1; i <= n; i++) {
    if (i < n && t_ms[i]! - t_ms[i - 1]! <= most) continue;
    found.push([from, i]);
    from = i;
  }
  return found;
}

function* known(low: (number | null)[], high: (number | null)[], from: number, to: number): Generator<[number, number]> {
  let start = -1;
  for (let i = from; i <= to; i++) {
    const good = i < to && low[i] !== null && low[i] !== undefined && high[i] !== null && high[i] !== undefined;
    if (good && start < 0) start = i;
    if (!good && start >= 0) {
      yield [start, i];
      start = -1;
    }
  }
}

function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const part = rough / power;
  return (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10) * power;
}

function range(from: number, to: number, step: number): number[] {
  const list: number[] = [];
  for (let at = from; at <= to && list.length < 20; at += step) list.push(at);
  return list;
}

/** A value on the axis with as many digits as tell it from the next one, `step` away. */
export function axisLabel(value: number, step: number): string {
  const digits = (unit: number): number => Math.min(20, Math.max(0, -Math.floor(Math.log10(unit) + 1e-9)));
  if (Math.abs(value) >= 10_000 && step >= 10) return `${fixed(value / 1000, digits(step / 1000))}k`;
  return fixed(value, digits(step));
}

const fixed = (value: number, digits: number): string =>
  value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace(/^-(0(\.0*)?)$/, "$1");
