// PURE. When to try again.

const DELAYS = [0, 300, 1_200, 2_700, 4_800, 7_000];
const JITTER = 0.25;

/** Milliseconds until attempt number `attempt` (from 0). `random` in 0..1 spreads many pages apart. */
export function backoff(attempt: number, random: number): number {
  const delay = DELAYS[Math.min(attempt, DELAYS.length - 1)] ?? 0;
  return Math.round(delay * (1 + JITTER * random));
}
