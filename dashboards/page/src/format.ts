// Numbers, units and times as an operator reads them.

import { spoken, t } from "./text";

let zone: string | undefined;

/** The city's time zone; an unknown name leaves the browser's. */
export function setZone(name: string | undefined): void {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    zone = name;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    zone = undefined;
  }
  formats.clear();
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(style: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${style}/${spoken()}`;
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat(spoken() === "zh" ? "zh-CN" : "en-GB", { ...options, ...(zone ? { timeZone: zone } : {}) });
    formats.set(key, found);
  }
  return found;
}

export const clockTime = (ms: number): string => format("time", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }).format(ms);
export const shortTime = (ms: number): string => format("short", { hour: "2-digit", minute: "2-digit", hour12: false }).format(ms);
export const day = (ms: number): string => format("day", { weekday: "short", day: "numeric", month: "short", year: "numeric" }).format(ms);
export const shortDay = (ms: number): string => format("shortDay", { day: "numeric", month: "short" }).format(ms);
export const dayTime = (ms: number): string =>
  format("dayTime", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }).format(ms);

/** With its year: for books and accounts, which go back. */
export const fullTime = (ms: number): string =>
  format("fullTime", { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false }).format(ms);

/** The hour of the city's day, 0..23. */
export function cityHour(ms: number): number {
  return Number(new Intl.DateTimeFormat("en-GB", { hour: "2-digit", hour12: false, ...(zone ? { timeZone: zone } : {}) }).format(ms)) % 24;
}

/** City time as a datetime-local field takes it, to the minute. */
export function wall(ms: number): string {
  const parts = new Intl.DateTimeFormat("en-GB", {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(zone ? { timeZone: zone } : {}),
  }).formatToParts(ms); // prettier-ignore
  const of = (type: string): string => parts.find((part) => part.type === type)?.value ?? "";
  return `${of("year").padStart(4, "0")}-${of("month")}-${of("day")}T${of("hour")}:${of("minute")}`;
}

/** What a datetime-local field says, as city time; an hour that the clocks skip is the one after it. */
export function fromWall(text: string): number {
  const wanted = Date.parse(`${text}Z`);
  const off = (ms: number): number => Date.parse(`${wall(ms)}Z`) - Math.floor(ms / 60_000) * 60_000;
  const first = wanted - off(wanted);
  return wanted - off(first);
}

/** A duration in its two largest units. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return t("seconds", seconds);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return t("minutes", minutes);
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 && hours < 6 ? t("hoursMinutes", hours, minutes % 60) : t("hours", hours);
  const days = Math.floor(hours / 24);
  return hours % 24 && days < 4 ? t("daysHours", days, hours % 24) : t("days", days);
}

export function count(n: number): string {
  return Math.round(n).toLocaleString(spoken() === "zh" ? "zh-CN" : "en-GB");
}

/** A value with so many decimals; thousands are grouped, nothing is shown as a dash. */
export function number(value: number | null | undefined, decimals = 1, least = Math.min(decimals, 1)): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return t("none");
  return value.toLocaleString("en-GB", { maximumFractionDigits: decimals, minimumFractionDigits: least });
}

const UNITS: Record<string, string> = { "/": "", Cel: "°C", "ug/m3": "µg/m³", "%RH": "% RH", deg: "°", lat: "°", lon: "°", dB: "dB" };

export function unitName(unit: string): string {
  return UNITS[unit] ?? unit;
}
