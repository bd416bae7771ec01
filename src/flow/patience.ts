/** How long one goes on asking who does not answer. */
import { GranaryError } from '../errors.ts';

/** Each was asked several times already: so many in a row are no accident. */
const limit = 16;

export class Patience {
  #inARow = 0;

  answered(): void {
    this.#inARow = 0;
  }

  /** @throws GranaryError that stops everything, when it is enough */
  failed(error: GranaryError): void {
    if (error.code !== 'unavailable') return;
    this.#inARow += 1;
    if (this.#inARow < limit) return;
    throw new GranaryError(
      'unavailable',
      `${error.message}; so it was ${limit} times in a row; run the same command again when it answers`,
      { ...error.facts, stops: 'all' },
      error,
    );
  }
}
