// The books for auditors: who saw whose data, who changed what, and the proof that nothing in them was altered.

import { get } from "../api";
import { h } from "../dom";
import { labelled, once, select, table } from "../forms";
import { count, fullTime } from "../format";
import { told as refusal } from "../login";
import { t, tOr, type Word } from "../text";
import { caseLink } from "./links";
import type { Office } from "./section";

interface Entry {
  n: number;
  at_ms: number;
  actor: string;
  event: string;
  subject: string;
  reason: string;
  detail: string;
}

interface Proof {
  ok: boolean;
  checked: number;
  head: string;
  flaw: string;
  case?: string;
  detail?: string;
}

const PAGE = 100;
const BOOKS: [string, Word][] = [["reveals", "bookReveals"], ["audit", "bookAudit"]];

export async function books(office: Office): Promise<Node[]> {
  const place = h("div", {});
  const book = select(BOOKS.map(([value, word]) => ({ value, text: t(word) })), "reveals", { id: "book" });
  const read = async (): Promise<void> => {
    const name = book.value;
    const got = await lines(office, name);
    if (book.value === name) place.replaceChildren(...got);
  };
  book.onchange = () => void read().catch((error: unknown) => (place.textContent = refusal(error)));
  await read();
  return [proofs(office), labelled(t("book"), book), place];
}

/** Whether books and history are whole, at the press of a button; the heads are for keeping elsewhere. */
function proofs(office: Office): HTMLElement {
  const said = h("div", { role: "status", id: "proofs" });
  const prove = async (): Promise<void> => {
    said.replaceChildren(h("p", {}, t("proving")));
    const [cases, ...rest] = await Promise.all([get<Proof>("/api/journal/proof"), ...BOOKS.map(([name]) => get<Proof>(`/api/books/${name}/proof`))]);
    const told: [string, Proof][] = [[t("historyOfCases"), cases!], ...BOOKS.map(([, word], i) => [t(word), rest[i]!] as [string, Proof])];
    said.replaceChildren(...told.map(([name, proof]) => line(office, name, proof)));
  };
  return h("section", { class: "proof" }, h("p", { class: "more" }, t("proofNote")), once(t("proveNow"), prove, { class: "primary", id: "prove" }), said);
}

function line(office: Office, name: string, proof: Proof): HTMLElement {
  const verdict = proof.ok ? t("proofGood", count(proof.checked)) : `${t("proofBad")} ${proof.flaw} ${proof.detail ?? ""}`;
  return h("div", { class: proof.ok ? "good" : "late" }, h("p", {}, h("b", {}, name), ` ${verdict} `, !proof.ok && proof.case ? caseLink(office, proof.case) : null), h("code", {}, `${t("head")} ${proof.head}`));
}

async function lines(office: Office, book: string): Promise<Node[]> {
  const told = await get<Entry[]>(`/api/books/${book}?limit=${PAGE}`);
  if (told.length === 0) return [h("p", {}, t("bookEmpty"))];
  const heads = [t("number"), t("machineTime"), t("byWhom"), t("event"), t("subjectOf"), t("reason"), t("detail")];
  const row = (one: Entry): (Node | string)[] => [String(one.n), fullTime(one.at_ms), one.actor, tOr(`event_${one.event.replaceAll(" ", "_")}`, one.event), one.subject, one.reason, /^CW-/.test(one.detail) ? caseLink(office, one.detail) : one.detail];
  const made = table(heads, told.map(row), t("officeBooks"));
  const body = made.querySelector("tbody")!;
  let before = told.at(-1)!.n;
  const more = once(t("older"), async () => {
    const page = await get<Entry[]>(`/api/books/${book}?before=${before}&limit=${PAGE}`);
    body.append(...page.map((one) => h("tr", {}, ...row(one).map((cell) => h("td", {}, cell)))));
    before = page.at(-1)?.n ?? 0;
    if (page.length < PAGE) more.remove();
  });
  return told.length < PAGE ? [made] : [made, more];
}
