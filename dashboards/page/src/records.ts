// The words of the API, as the page reads them (docs/api.md).

export type Language = "en" | "zh";
export type Named = { en: string; zh: string };

export interface Quantity {
  name: string;
  unit: string;
  role: "gauge" | "counter" | "state" | "position";
  states: string[];
  decimals: number;
  low: number;
  high: number;
  en: string;
  zh: string;
}

/** What a device can be told; an argument without bounds is text. */
export interface OrderKind extends Named {
  arguments: Record<string, { low: number | null; high: number | null; needed: boolean }>;
}

export interface Order {
  id: string;
  device: string;
  action: string;
  arguments: Record<string, unknown>;
  actor: string;
  reason: string;
  at_ms: number;
  state: string;
  detail?: string;
}

export interface Kind {
  en: string;
  zh: string;
  cadence_s: number;
  orders?: Record<string, OrderKind>;
  quantities: Quantity[];
}

export interface Clock {
  city_ms: number;
  speed: number;
  mode?: "real" | "simulated" | "shifted" | "replayed";
}

export interface City {
  name: string;
  name_zh: string;
  version: number;
  centre: [number, number];
  bounds?: [number, number, number, number];
  timezone?: string;
  attribution?: string;
  attributions?: string[];
  clock: Clock;
  departments?: Record<string, Named>;
  kinds: Record<string, Kind>;
  basemap: boolean;
}

/** A case of the same type on the same subject or company, not long before. */
export interface Earlier {
  id: string;
  type: string;
  subject: string;
  state: string;
  opened_ms: number;
  department: string;
}

/** A party of a case: why it is one, and the last step that it took ("" for none yet). */
export interface Joined {
  department: string;
  why: "joint" | "escalated" | "told";
  event: string;
  at_ms: number;
}

export interface Case {
  id: string;
  type: string;
  subject: string;
  subject_kind: string;
  state: string;
  severity: number;
  opened_ms: number;
  since_ms: number;
  updated_ms: number;
  department: string;
  returned_by?: string[]; // who gave it back, until another has accepted it
  parent: string;
  children: number;
  deadline_ms: number;
  past: boolean;
  active: boolean;
  lon: number | null;
  lat: number | null;
  en: string;
  zh: string;
  evidence: Record<string, unknown>;
  joined?: Joined[]; // its parties beside the department in charge; as `can`
  can?: string[]; // the steps that are the caller's to take; of a case that was asked for by its id
}

export interface Step {
  serial: number;
  at_ms: number;
  actor: string;
  event: string;
  before: string;
  after: string;
  reason: string;
  evidence?: Record<string, unknown>;
}

export interface Delivery {
  key: string;
  channel: string;
  address: string;
  purpose: string;
  state: string;
  attempts: number;
  sent_at_ms: number | null;
  detail: string;
}

export interface Value {
  quantity: string;
  value: number | null;
  unit: string;
  expected: number | null;
  low: number | null;
  high: number | null;
  t_ms: number | null;
  age_s: number | null;
}

/** What a device should report by an order, beside what it reports. */
export interface Desired {
  quantity: string;
  value: number;
  reported: number | null;
  differs: boolean;
  order: string;
  since_ms: number;
  until_ms: number; // 0: until told otherwise
}

export interface Device {
  id: string;
  kind: string;
  origin: string;
  state: number;
  lon: number;
  lat: number;
  code16?: string;
  urn?: string;
  relations?: Record<string, string>;
  attributes?: Record<string, number>;
  plate?: string; // a pseudonym; POST /api/reveals tells the plate
  values?: Value[];
  cases?: Case[];
  desired?: Desired[];
  account?: Account | null; // null: it was never given a place
}

export interface Series {
  device: string;
  quantity: string;
  unit: string;
  t_ms: number[];
  observed: (number | null)[];
  expected: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  complete_to_ms: number;
  forecast: Ahead | null;
}

/** The next 24 hours; low to high holds 95 %, low80 to high80 80 % of what comes. */
export interface Ahead {
  t_ms: number[];
  expected: number[];
  low: number[];
  low80: number[];
  high80: number[];
  high: number[];
}

export interface Account {
  accountable: boolean;
  received: number;
  journalled: number;
  stored: number;
  duplicate: number;
  late: number;
  out_of_order: number;
  missing: number;
  rejected: Record<string, number>;
  unstorable: number; // refused by the store's server for good
}

export interface Reject {
  at_ms: number;
  topic: string;
  reason: string;
  detail: string;
  payload: string;
}

export interface Trouble extends Named {
  part: string;
  level: number;
}

export interface Health {
  ready: boolean;
  troubles: Trouble[];
  store?: { name?: string; up?: boolean; behind?: number };
}

export interface Beat {
  type: "beat";
  clock: Clock;
  city_version: number;
  account: Account;
  health: Health;
  cases: { reset: boolean; changed: Case[]; gone: string[] };
}

export interface ScoreLine {
  key: string;
  cases: number;
  open: number;
  late: number;
  reopened: number;
  false: number;
  share_in_time: number | null;
  median_s: Record<string, number | null>;
}

export interface ScoreCard {
  first: string;
  last: string;
  children: number;
  total: ScoreLine;
  by: Record<string, ScoreLine[]>;
  judged: { judge: string; count: number; mean_score: number | null; false: number }[];
  offenders: { subject: string; company: string; cases: number; types: Record<string, number> }[];
  names: Record<string, Record<string, Named>>;
}
