/** A run that ends in the middle: how far it came, and that the next one goes on from there. */
import { GranaryError } from '../errors.ts';

/** How far a run came: paths. */
export interface Reached {
  readonly done: number;
  readonly left: number;
}

/** Does the work; what may pass and ends it is told with how far it came by then. */
export async function countedWork<T>(reached: () => Reached, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof GranaryError) || error.code !== 'unavailable') throw error;
    const { done, left } = reached();
    const isSaid = /run the same command again/.test(error.message);
    const counts = `${done} path${done === 1 ? ' is' : 's are'} done, ${left} left`;
    throw new GranaryError(
      error.code,
      `${error.message}; ${counts}${isSaid ? '' : ': run the same command again, and it goes on from there'}`,
      { ...error.facts, done, left },
      error,
    );
  }
}
