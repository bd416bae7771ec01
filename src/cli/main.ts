/** The terminal's door: finds the command, runs it, and turns what it throws into an exit status. */
import { errorTable, GranaryError } from '../errors.ts';
import { nearest } from '../nearest.ts';
import { version } from '../version.ts';
import { type Arguments, parseArguments } from './arguments.ts';
import { type Command, commonOptions, helpOf } from './command.ts';
import { type Face, jsonFace, plainFace, quietFace } from './face.ts';
import { counted } from './units.ts';

/** Loaded when asked for: `granary --version` loads none. */
const commands: Readonly<Record<string, { about: string; load: () => Promise<Command> }>> = {
  make: {
    about: 'make a binary cache of closures, or add to one',
    load: async () => (await import('./commands/make.ts')).make,
  },
  verify: {
    about: 'prove a cache, or say what is wrong with it',
    load: async () => (await import('./commands/verify.ts')).verify,
  },
  repair: {
    about: 'heal a cache from a store or other caches',
    load: async () => (await import('./commands/repair.ts')).repair,
  },
  copy: {
    about: 'copy paths between caches and stores',
    load: async () => (await import('./commands/copy.ts')).copy,
  },
  sign: {
    about: 'add, drop or rotate signatures over a cache',
    load: async () => (await import('./commands/sign.ts')).sign,
  },
  diff: {
    about: 'say how two caches differ',
    load: async () => (await import('./commands/diff.ts')).diff,
  },
  info: {
    about: 'say what a cache is made of, or what a cache or store says of paths',
    load: async () => (await import('./commands/info.ts')).info,
  },
  ls: {
    about: 'list what lies in a path of a cache',
    load: async () => (await import('./commands/ls.ts')).ls,
  },
  cat: {
    about: 'write out a file in a path of a cache',
    load: async () => (await import('./commands/cat.ts')).cat,
  },
  why: {
    about: 'show why a path needs another',
    load: async () => (await import('./commands/why.ts')).why,
  },
  size: {
    about: 'show what the roots of a cache weigh',
    load: async () => (await import('./commands/size.ts')).size,
  },
  key: {
    about: 'make a signing key, or show the public half of one',
    load: async () => (await import('./commands/key.ts')).key,
  },
};

/** Runs one command line, without the program's name, and gives the exit status. */
export async function main(args: readonly string[]): Promise<number> {
  const [first, ...rest] = args;
  // A reader that goes away (`| head`) ends the output, not the work.
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', error => {
      if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
    });
  if (first === '--version' || first === 'version') {
    process.stdout.write(`granary ${version}\n`);
    return 0;
  }
  if (first === undefined || first === '--help') return overview();
  const json = args.includes('--json');
  const quiet = args.includes('--quiet');
  const face = json ? jsonFace() : quiet ? quietFace() : await plainFace();
  try {
    const isHelp = first === 'help';
    if (isHelp && rest.length === 0) return overview();
    const command = await commandOf(isHelp ? rest[0]! : first);
    if (isHelp || rest.includes('--help')) {
      process.stdout.write(helpOf(command));
      return 0;
    }
    const parsed = parseArguments(rest, { ...command.options, ...commonOptions });
    return await run(command, parsed, face);
  } catch (error) {
    return failed(error, face);
  }
}

async function run(command: Command, args: Arguments, face: Face): Promise<number> {
  const interrupt = (): void => {
    face.done();
    face.show({ type: 'summary', ok: false, exit: 130 });
    process.exit(130);
  };
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  try {
    return await command.run(args, face);
  } finally {
    face.done();
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}

async function commandOf(name: string): Promise<Command> {
  if (Object.hasOwn(commands, name)) return commands[name]!.load();
  const meant = nearest(name, Object.keys(commands));
  const hint = meant
    ? `did you mean "granary ${meant}"?`
    : 'run "granary --help" for what there is';
  throw new GranaryError(
    'usage',
    `Cannot run "granary ${name}": there is no such command; ${hint}`,
  );
}

function overview(): number {
  const rows = Object.entries(commands).map(([key, { about }]) => `  ${key.padEnd(10)} ${about}`);
  process.stdout.write(
    `granary ${version}: make, prove, heal, ship and serve Nix closures as plain files\n\n` +
      `${rows.join('\n')}\n\nRun "granary COMMAND --help" for each.\n`,
  );
  return 0;
}

/** The exit status of what ended a command, after telling it. */
function failed(error: unknown, face: Face): number {
  face.done();
  if (!(error instanceof GranaryError)) {
    process.stderr.write(
      `granary: this is a bug; please report it with what you ran:\n${(error as Error)?.stack ?? String(error)}\n`,
    );
    face.show({ type: 'summary', ok: false, exit: 70 });
    return 70;
  }
  const { code, message, facts } = error;
  const { exit } = errorTable[code];
  face.show({ type: 'error', code, message, facts });
  const { done, left } = facts; // of paths, where that ends it in the middle
  const [counts, text] =
    typeof done === 'number' && typeof left === 'number'
      ? [
          { done, left },
          `Broken off: ${counted(done, 'path')} done, ${left} left. Run the same command again, and it goes on from there.`,
        ]
      : [{}, undefined];
  face.show({ type: 'summary', ok: false, exit, ...counts }, text);
  return exit;
}
