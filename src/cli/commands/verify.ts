/** `granary verify`: proves a cache, or says what is wrong with it. */
import { availableParallelism } from 'node:os';
import { GranaryError } from '../../errors.ts';
import { recordVerdict } from '../../flow/verdict-file.ts';
import { verify as verifyCache } from '../../flow/verify.ts';
import type { Storage } from '../../storage/storage.ts';
import type { Arguments } from '../arguments.ts';
import { openCacheToRead, refuseReadOnly } from '../caches.ts';
import { type Command, exitStatuses } from '../command.ts';
import type { Face } from '../face.ts';
import { readPublicKeys } from '../key-files.ts';
import { namedRoots } from '../root-list.ts';
import { showFinding } from '../show-finding.ts';
import { growHeapSlowly } from '../small-heap.ts';
import { bytesText, counted, secondsText } from '../units.ts';

export const verify: Command = {
  usage: 'granary verify [OPTION]... CACHE [ROOT]...',
  about: `Proves a cache: every narinfo, every byte of every NAR, every reference, and all that lies beside
them. With ROOTs (store paths, their base names or hash parts), only their closures.`,
  options: {
    roots: { value: 'FILE|-', help: 'more ROOTs, one a line; - is standard input. Repeatable' },
    quick: { help: 'read no NAR file: only narinfos, sizes and references' },
    'trusted-key': {
      value: 'KEY',
      help: 'NAME:BASE64 or a file with it: check signatures. Repeatable',
    },
    'sigs-needed': {
      value: 'N',
      help: 'how many signatures by trusted keys each path needs (default 1)',
    },
    with: { value: 'CACHE', help: 'another cache that may have what is referred to. Repeatable' },
    record: { help: 'leave the verdict in the cache, in granary/verified.json' },
    strict: { help: 'warnings count as damage' },
    jobs: {
      value: 'N',
      help: `checking threads (default: the cores, here ${availableParallelism()})`,
    },
  },
  notes: `Exit status 1 tells of damage: some Nix fails or gets wrong bytes, a stated hash or size is untrue, or a
copy of the folder would not be whole. Everything else is a warning.
What cannot be listed (HTTP) takes ROOTs. With them, what belongs to none of their closures is not looked for: files that
nothing names, left-overs, strangers, logs and debuginfo.

${exitStatuses}`,
  run,
};

async function run(args: Arguments, face: Face): Promise<number> {
  const start = Date.now();
  growHeapSlowly();
  const [name, ...words] = args.words;
  if (name === undefined)
    throw new GranaryError(
      'usage',
      'Cannot verify nothing: name the CACHE, as in "granary verify ./cache"',
    );
  const roots = namedRoots(args, words);
  const keys = readPublicKeys(args.all('trusted-key'));
  const sigsNeeded = args.number('sigs-needed', 1, 100);
  if (sigsNeeded !== undefined && keys.length === 0)
    throw new GranaryError(
      'usage',
      'Cannot count signatures without a --trusted-key to check them',
    );
  if (args.has('record') && roots)
    throw new GranaryError(
      'usage',
      'Cannot --record what only some paths are: leave out the ROOTs',
    );
  const storage = await openCacheToRead(name);
  if (args.has('record')) refuseReadOnly('verify --record', storage, roots);
  const also: Storage[] = [];
  for (const other of args.all('with')) also.push(await openCacheToRead(other));
  const checked = {
    quick: args.has('quick'),
    keys,
    sigsNeeded: sigsNeeded ?? 1,
    also,
  };
  const verdict = await verifyCache(storage, {
    ...checked,
    ...(roots === undefined ? {} : { roots }),
    jobs: args.number('jobs', 1, 1024) ?? availableParallelism(),
    report: event =>
      'progress' in event ? face.progress(event.progress) : showFinding(event, face),
  });
  face.done();
  if (args.has('record')) await recordVerdict(storage, verdict, checked);
  const { narInfos, narBytes, damage, warnings } = verdict.totals;
  const exit = damage > 0 || (args.has('strict') && warnings > 0) ? 1 : 0;
  const found =
    damage + warnings === 0
      ? 'nothing wrong'
      : `${counted(damage, 'damage')}, ${counted(warnings, 'warning')}`;
  const scope = roots ? '; only the closures of the ROOTs, not what else lies there' : '';
  face.show(
    {
      type: 'summary',
      ok: exit === 0,
      exit,
      cache: storage.url,
      ...verdict.totals,
      ...(roots === undefined ? {} : { roots: roots.length }),
      seconds: (Date.now() - start) / 1000,
    },
    `${storage.url}: ${counted(narInfos, 'path')}, ${bytesText(narBytes)} of NARs read; ${found}${scope}; ${secondsText(Date.now() - start)}`,
  );
  return exit;
}
