/**
 * The grammar of a command line, from a table of options. node:util does the lexing; what it leaves
 * is saying what is wrong and what was probably meant. (A larger library cannot be had: the same
 * command runs inside the Nix sandbox, where there is nothing but Node and this source.)
 */
import { parseArgs } from 'node:util';
import { withoutPassword } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { nearest } from '../nearest.ts';

interface Option {
  /** What the value is called in the help; a flag has none. */
  readonly value?: string;
  readonly help: string;
}

export type Options = Readonly<Record<string, Option>>;

export class Arguments {
  readonly words: readonly string[];
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(words: readonly string[], values: ReadonlyMap<string, readonly string[]>) {
    this.words = words;
    this.#values = values;
  }

  has(option: string): boolean {
    return this.#values.has(option);
  }

  /** All values of an option, in order. */
  all(option: string): readonly string[] {
    return this.#values.get(option) ?? [];
  }

  /** The last value of an option. */
  last(option: string): string | undefined {
    return this.all(option).at(-1);
  }

  /**
   * The value of an option that no other may replace: where two are given, neither is dropped without a word.
   *
   * @throws GranaryError `usage` for two
   */
  only(option: string): string | undefined {
    const values = this.all(option);
    if (values.length < 2) return values[0];
    const [first, second] = values.map(withoutPassword);
    throw new GranaryError(
      'usage',
      `Cannot use --${option} twice, as ${first} and ${second}: name one`,
    );
  }

  /** The last value of an option, as a whole number from `min` to `max`. */
  number(option: string, min: number, max: number): number | undefined {
    const text = this.last(option);
    if (text === undefined) return undefined;
    const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new GranaryError(
      'usage',
      `Cannot use --${option} ${text}: it takes a whole number from ${min} to ${max}`,
    );
  }

  /** The last value of an option, as one of some words. */
  word<W extends string>(option: string, words: readonly W[]): W | undefined {
    const text = this.last(option);
    if (text === undefined) return undefined;
    const found = words.find(word => word === text);
    if (found !== undefined) return found;
    throw new GranaryError(
      'usage',
      `Cannot use --${option} ${text}: it takes one of ${words.join(', ')}${meant(text, words, '')}`,
    );
  }
}

/** @throws GranaryError `usage` for an unknown option, or one without its value */
export function parseArguments(args: readonly string[], options: Options): Arguments {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(options).map(([name, { value }]) => [
        name,
        { type: value === undefined ? 'boolean' : 'string' } as const,
      ]),
    ),
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const words: string[] = [];
  const values = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === 'positional') words.push(token.value);
    if (token.kind !== 'option') continue;
    const { name, rawName, value, inlineValue } = token;
    const option =
      Object.hasOwn(options, name) && rawName.startsWith('--') ? options[name] : undefined;
    if (!option)
      throw new GranaryError(
        'usage',
        `Cannot understand ${rawName}: there is no such option${meant(name, Object.keys(options), '--')}`,
      );
    if (option.value === undefined && value !== undefined)
      throw new GranaryError('usage', `Cannot use --${name}=${value}: --${name} takes no value`);
    const missing = value === undefined || (!inlineValue && value.startsWith('--'));
    if (option.value !== undefined && missing)
      throw new GranaryError(
        'usage',
        `Cannot use --${name} without a value: write --${name} ${option.value}`,
      );
    values.set(name, [...(values.get(name) ?? []), value ?? '']);
  }
  return new Arguments(words, values);
}

/** What was probably meant, as the end of a sentence. */
export function meant(text: string, words: readonly string[], prefix: string): string {
  const word = nearest(text, words);
  return word === undefined ? '' : `; did you mean ${prefix}${word}?`;
}
