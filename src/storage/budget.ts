/** Bytes that may be in memory at once, whoever needs them: who comes when all are out waits for his turn. */
export class Budget {
  readonly #bytes: number;
  readonly #waiting: (() => void)[] = [];
  #used = 0;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  /** Does something that needs so many bytes; what needs more than there are has them all to itself. */
  async spend<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    const needed = Math.min(bytes, this.#bytes);
    while (this.#used + needed > this.#bytes)
      await new Promise<void>(resolve => this.#waiting.push(resolve));
    this.#used += needed;
    try {
      return await work();
    } finally {
      this.#used -= needed;
      for (const wake of this.#waiting.splice(0)) wake();
    }
  }
}
