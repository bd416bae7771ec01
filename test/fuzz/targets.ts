/** All targets of the fuzzer. */
import { verifyTarget } from './hostile-cache.ts';
import { parserTargets } from './parsers.ts';
import type { Target } from './target.ts';

export const targets: readonly Target[] = [...parserTargets, verifyTarget];
