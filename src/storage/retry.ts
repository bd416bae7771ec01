/**
 * Trying again what may pass: with waits that double and are drawn from the whole of their length, so that
 * many clients of a server that stumbled do not come back together; and never sooner than the server asks.
 * It ends after so many attempts in a row, and after so much waiting in all.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { GranaryError } from '../errors.ts';

/** Time and chance, so that tests need neither. */
interface Clock {
  /** ms since 1970 */
  now(): number;
  sleep(ms: number): Promise<void>;
  /** From 0 up to, but not, 1. */
  random(): number;
}

export interface RetryPolicy {
  /** Attempts in a row, the first one included. */
  readonly attempts: number;
  /** The longest first wait, and the longest of all. */
  readonly baseMs: number;
  readonly capMs: number;
  /** The longest waiting in all. */
  readonly totalMs: number;
  readonly clock: Clock;
}

export const usualRetry: RetryPolicy = {
  attempts: 6,
  baseMs: 250,
  capMs: 20_000,
  totalMs: 180_000,
  clock: { now: Date.now, sleep: async ms => void (await wait(ms)), random: Math.random },
};

/** How much of its policy one piece of work has used up. */
export class Patience {
  readonly #policy: RetryPolicy;
  #failures = 0;
  #waitedMs = 0;

  constructor(policy: RetryPolicy) {
    this.#policy = policy;
  }

  /**
   * Waits until it may be tried again, and not less than `afterMs`.
   *
   * @throws `error`, with what was tried, when there is to be no other attempt
   */
  async beforeRetry(error: GranaryError, afterMs = 0): Promise<void> {
    const { attempts, baseMs, capMs, totalMs, clock } = this.#policy;
    this.#failures += 1;
    if (this.#failures >= attempts) throw givenUp(error, `tried ${this.#failures} times`);
    const most = Math.min(capMs, baseMs * 2 ** (this.#failures - 1));
    const ms = Math.max(afterMs, clock.random() * most);
    if (this.#waitedMs + ms > totalMs)
      throw givenUp(error, `it would be ${Math.ceil(ms / 1000)} s until the next attempt`);
    this.#waitedMs += ms;
    await clock.sleep(ms);
  }

  /** Takes note that something came of it: attempts are counted anew, but not the waiting. */
  progress(): void {
    this.#failures = 0;
  }
}

/** What a Retry-After header asks for, seconds or a date; undefined when it is neither. */
export function retryAfterMs(value: string | undefined, now: number): number | undefined {
  const text = value?.trim() ?? '';
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const date = /^[A-Z][a-z]+, /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

const givenUp = ({ code, message, facts, cause }: GranaryError, why: string): GranaryError =>
  new GranaryError(code, `${message}; ${why}`, facts, cause);
