/** A run that ends in the middle: how far it came, and that the next one goes on from there. */
import { GranaryError } from '../errors.ts';

/** How far a run came: paths. */
export interface Reached {
  readonly done: number;
  readonly left: number;
}

/** Does the work; what may pass and ends it gets `done` and `left` among its facts. */
export async function countedWork<T>(reached: () => Reached, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof GranaryError) || error.code !== 'unavailable') throw error;
    throw new GranaryError(error.code, error.message, { ...error.facts, ...reached() }, error);
  }
}
