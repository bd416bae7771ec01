/** `granary sign`: adds and drops signatures. */
import { availableParallelism } from 'node:os';
import { errorTable, GranaryError } from '../../errors.ts';
import { sign as signCache } from '../../flow/sign.ts';
import type { Arguments } from '../arguments.ts';
import { openCacheToRead, refuseReadOnly } from '../caches.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { readSecretKey } from '../key-files.ts';
import { namedRoots } from '../root-list.ts';
import { showFinding } from '../show-finding.ts';
import { growHeapSlowly } from '../small-heap.ts';
import { counted, secondsText } from '../units.ts';

export const sign: Command = {
  usage: 'granary sign [--sign FILE]... [--drop NAME]... [OPTION]... CACHE [ROOT]...',
  about: `Signs every path of a cache, or those of the closures of the ROOTs, and drops signatures. To rotate
a key, do both in one run. Each narinfo is replaced as a whole; all else in it stays as it is.`,
  options: {
    roots: { value: 'FILE|-', help: 'more ROOTs, one a line; - is standard input. Repeatable' },
    sign: { value: 'FILE', help: 'a secret key to sign with. Repeatable' },
    drop: { value: 'NAME', help: 'the name of a key whose signatures go. Repeatable' },
    unverified: { help: 'sign without reading the NARs first' },
    jobs: {
      value: 'N',
      help: `checking threads (default: the cores, here ${availableParallelism()})`,
    },
  },
  notes: `What is damaged is not signed, and told; the exit status then is 5. Clients that have looked at a path
before remember its signatures for up to 30 days, but not of a file:// cache.
What cannot be listed (HTTP) takes ROOTs, and has to take PUT.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  const start = Date.now();
  growHeapSlowly();
  const [name, ...words] = args.words;
  const keys = args.all('sign').map(readSecretKey);
  const drop = args.all('drop');
  if (name === undefined)
    throw new GranaryError(
      'usage',
      'Cannot sign nothing: name the CACHE, as in "granary sign --sign key ./cache"',
    );
  if (keys.length + drop.length === 0)
    throw new GranaryError(
      'usage',
      'Cannot sign without a key: give one by --sign FILE, or a name to --drop',
    );
  const roots = namedRoots(args, words);
  const storage = await openCacheToRead(name);
  refuseReadOnly('sign', storage, roots);
  const { changed, unchanged, refused } = await signCache(storage, {
    keys,
    drop,
    ...(roots === undefined ? {} : { roots }),
    unverified: args.has('unverified'),
    jobs: args.number('jobs', 1, 1024) ?? availableParallelism(),
    report: event => {
      if ('progress' in event) face.progress(event.progress);
      else if (event.severity === 'damage') showFinding(event, face);
    },
  });
  face.done();
  const exit = refused.length > 0 ? errorTable.corrupt.exit : 0;
  for (const path of changed) face.show({ type: 'path', path, state: 'changed' });
  for (const path of refused)
    face.show({ type: 'path', path, state: 'refused' }, `Not signed: ${path}, which is damaged.`);
  const what = [
    ...keys.map(key => `signed as ${key.name}`),
    ...drop.map(each => `dropped ${each}`),
  ].join(', ');
  face.show(
    {
      type: 'summary',
      ok: exit === 0,
      exit,
      cache: storage.url,
      changed: changed.length,
      unchanged,
      refused,
    },
    `${storage.url}: ${what}: ${counted(changed.length, 'path')} changed, ${unchanged} already so` +
      `${refused.length > 0 ? `, ${refused.length} refused` : ''}; ${secondsText(Date.now() - start)}`,
  );
  return exit;
}
