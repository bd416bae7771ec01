/**
 * What a command shows: sentences and a progress bar for a terminal, lines for a pipe, one JSON
 * object a line with --json, only errors with --quiet. Results go to standard output, progress and
 * errors to standard error.
 */
import type { ErrorCode, ErrorFacts } from '../errors.ts';
import { bytesText, secondsText } from './units.ts';

/** One line of --json. */
type Event =
  | {
      readonly type: 'plan' | 'path' | 'finding' | 'entry' | 'content' | 'note' | 'summary';
      readonly [field: string]: unknown;
    }
  | {
      readonly type: 'error';
      readonly code: ErrorCode;
      readonly message: string;
      readonly facts?: ErrorFacts;
    };

interface Progress {
  readonly narBytes: number;
  readonly totalNarBytes: number;
  readonly paths: number;
  readonly totalPaths: number;
}

export interface Face {
  /** A result: the event for programs, the text (without it, nothing) for people. */
  show(event: Event, text?: string): void;
  /** Something to know that is no result. */
  note(text: string): void;
  progress(progress: Progress): void;
  /** Ends the progress; what comes next are results. */
  done(): void;
}

const jsonEveryMs = 1000;
const lineEveryMs = 10_000;

/** Writes one JSON object a line; a summary is always the last of them. */
export function jsonFace(): Face {
  const due = throttle(jsonEveryMs);
  const line = (event: object): void => {
    process.stdout.write(`${JSON.stringify(event)}\n`);
  };
  return {
    show: event => line(event),
    note: message => line({ type: 'note', message }),
    progress: progress => {
      if (due()) line({ type: 'progress', ...progress });
    },
    done: () => {},
  };
}

export function quietFace(): Face {
  return {
    show: event => {
      if (event.type === 'error') process.stderr.write(shown(sentence(String(event.message))));
    },
    note: () => {},
    progress: () => {},
    done: () => {},
  };
}

/** For people: at a terminal with a bar, in a pipe with a line now and then. */
export async function plainFace(): Promise<Face> {
  const bar = process.stderr.isTTY ? await openBar() : lines();
  return {
    show: (event, text) => {
      if (event.type === 'error') {
        bar.stop();
        process.stderr.write(shown(sentence(String(event.message))));
      } else if (text !== undefined) process.stdout.write(shown(`${text}\n`));
    },
    note: text => {
      process.stderr.write(shown(sentence(text)));
    },
    progress: progress => bar.update(progress),
    done: () => bar.stop(),
  };
}

/** What a cache says may be meant for the terminal: what would steer it is shown, not sent. */
const shown = (text: string): string =>
  text.replace(
    /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g,
    char => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );

const sentence = (text: string): string => `granary: ${text}${/[.?!]$/.test(text) ? '' : '.'}\n`;

interface Bar {
  update(progress: Progress): void;
  stop(): void;
}

function lines(): Bar {
  const due = throttle(lineEveryMs);
  return {
    update: progress => {
      if (due()) process.stderr.write(`${progressText(progress)}\n`);
    },
    stop: () => {},
  };
}

async function openBar(): Promise<Bar> {
  const library = await import('cli-progress').catch(() => undefined);
  if (!library) return lines(); // run from its source alone, as inside Nix
  const bar = new library.default.SingleBar({
    format: '{bar} {percentage}%  {line}',
    clearOnComplete: true,
    hideCursor: true,
    etaBuffer: 50,
    barsize: 24,
  });
  let start: number | undefined;
  return {
    update: progress => {
      const { narBytes, totalNarBytes } = progress;
      if (start === undefined) bar.start(totalNarBytes, 0, { line: '' });
      start ??= Date.now();
      const ms = Math.max(1, Date.now() - start);
      const left = narBytes > 0 ? (ms * (totalNarBytes - narBytes)) / narBytes : undefined;
      const rate = `${bytesText((narBytes / ms) * 1000)}/s`;
      const time = left === undefined ? '' : `, ${secondsText(Math.max(0, left))} left`;
      bar.update(narBytes, { line: `${progressText(progress)}, ${rate}${time}` });
    },
    stop: () => {
      if (start !== undefined) bar.stop();
      start = undefined;
    },
  };
}

const progressText = ({ narBytes, totalNarBytes, paths, totalPaths }: Progress): string =>
  `${bytesText(narBytes)} of ${bytesText(totalNarBytes)}, ${paths} of ${totalPaths} paths`;

/** True at most once in `ms`, and not before `ms` have passed. */
function throttle(ms: number): () => boolean {
  let last = Date.now();
  return () => {
    if (Date.now() - last < ms) return false;
    last = Date.now();
    return true;
  };
}
