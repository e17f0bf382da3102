// What a section of the office is, and what it is given.

import type { Who } from "../login";
import type { City } from "../records";

/** What a section is given. `may` asks the role; the server decides anyway. */
export interface Office {
  who: Who;
  city: City;
  may(permission: string): boolean;
  now(): number; // city time
  known(id: string): boolean;
  openCase(id: string): void; // leaves the office
  openDevice(id: string): void;
  again(): void; // draw the section anew
  reopen(): void; // after a dialog of its own took the place
}

/** What a section shows; it may take its time. */
export type Section = (office: Office) => Promise<Node[]>;
