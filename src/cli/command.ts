/** What a command is: a table that its help and its parser are made from, and a function. */
import type { Arguments, Options } from './arguments.ts';
import type { Face } from './face.ts';

export interface Command {
  readonly usage: string;
  readonly about: string;
  readonly options: Options;
  /** What stands below the options in the help. */
  readonly notes: string;
  /** The exit status. Throws GranaryError for what ends the command. */
  run(args: Arguments, face: Face): Promise<number>;
}

/** Options that every command has. */
export const commonOptions: Options = {
  json: { help: 'print one JSON object a line (docs/json.md); the last is the summary' },
  quiet: { help: 'print nothing but errors' },
  help: { help: 'print this help' },
};

/** The help of one command. */
export function helpOf(command: Command): string {
  const rows = Object.entries({ ...command.options, ...commonOptions }).map(
    ([name, { value, help }]) =>
      [`--${name}${value === undefined ? '' : ` ${value}`}`, help] as const,
  );
  const width = Math.max(...rows.map(([left]) => left.length));
  const indent = `\n${' '.repeat(width + 4)}`;
  const options = rows.map(
    ([left, help]) => `  ${left.padEnd(width)}  ${help.replaceAll('\n', indent)}`,
  );
  return `${command.usage}\n\n${command.about}\n\n${options.join('\n')}\n\n${command.notes}\n`;
}

/** The same for every command: what its exit status says. */
export const exitStatuses = `Exit status: 0 done · 1 done, and found something · 2 usage · 3 something is absent ·
4 malformed · 5 corrupt · 6 untrusted · 7 conflict · 8 unavailable, may pass · 70 a bug · 130 interrupted`;
