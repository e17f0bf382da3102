// Names and texts from outside, made harmless to the line that they stand in.

// Marks that turn the direction of what follows or cannot be seen: no name needs them, and one could hide behind them.
const UNSEEN = /[\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]/g;

/** A text from outside with what would disorder the line shown as a mark. */
export function clean(text: string): string {
  return text.replace(UNSEEN, "\ufffd");
}
