/**
 * Texts of lines `name: value`, as narinfo and nix-cache-info are, and all that can happen to a line:
 * its name, what stands between name and value, its end, where it is, and whether it is.
 */
import { type Change, shown } from './mutant.ts';

/** All of a line, so that nothing about it has to be as it should. */
export interface Line {
  readonly name: string;
  readonly colon: string;
  readonly value: string;
  readonly end: string;
}

export type Lines = readonly Line[];

export const line = (name: string, value: string): Line => ({
  name,
  colon: ': ',
  value,
  end: '\n',
});

/** Bytes that are a line and more, or less, or none. */
export const raw = (bytes: string): Line => ({ name: '', colon: '', value: bytes, end: '' });

export const printLines = (lines: Lines): string =>
  lines.map(({ name, colon, value, end }) => name + colon + value + end).join('');

const colons = [':', ':  ', ':\t', ' : ', ':\0', '::', ':x', ':\n', '', '=', ' '];
const ends = ['', '\r\n', '\n\n', '\n\r\n', ' \n', '\t\n', '\0\n', '\n \n', '\r', '\n\0\n'];
const names: Readonly<Record<string, (name: string) => string>> = {
  'in small letters': name => name.toLowerCase(),
  'in capitals': name => name.toUpperCase(),
  'with a blank before it': name => ` ${name}`,
  'with a byte order mark before it': name => `\xef\xbb\xbf${name}`,
  'with a NUL behind it': name => `${name}\0`,
  'with a blank behind it': name => `${name} `,
  'with another letter': name => `${name}s`,
  empty: () => '',
};
const strangers = [
  ...['\n', '\r\n', ' \n', '\0', '\0\n', 'garbage\n', 'garbage', 'x:\n', 'x: \n', 'x:', 'x: '],
  ...[':\n', ': \n', ':', 'System: x86_64-linux\n', '__proto__: x\n', 'constructor: x\n'],
  ...['\xff\xfe: \xe9\n', 'x: a: b\n', '# x\n', `x: ${'y'.repeat(5000)}\n`],
];
const bytes = ['\r', '\0', '\xff', ' ', '\t', ':', '\n', '\x0b', '\xa0', '-', '='];

/** Everything but other values. */
export function lineChanges(fields: readonly string[]): Change<Lines>[] {
  return [
    ...fields.flatMap(changesOf),
    ...strangers.flatMap(text => [
      added(`${shown(text)} at the beginning`, () => 0, raw(text)),
      added(`${shown(text)} in the middle`, half, raw(text)),
      added(`${shown(text)} at the end`, lines => lines.length, raw(text)),
    ]),
    { what: 'all backwards', to: lines => lines.toReversed() },
    { what: 'all twice', to: lines => [...lines, ...lines] },
    { what: 'nothing', to: () => [] },
    { what: 'CRLF', to: lines => lines.map(it => ({ ...it, end: it.end.replace('\n', '\r\n') })) },
  ];
}

/** The field with another value. */
export const valued = (field: string, value: string): Change<Lines> => ({
  what: `${field} ${shown(value)}`,
  to: lines => replaced(lines, field, it => [{ ...it, value }]),
});

/** The field once more, further down, with a value of its own. */
export const repeated = (field: string, value: string): Change<Lines> =>
  added(`a further ${field} ${shown(value)}`, lines => lines.length, line(field, value));

function changesOf(field: string): Change<Lines>[] {
  const change = (what: string, to: (it: Line) => readonly Line[]): Change<Lines> => ({
    what: `${field} ${what}`,
    to: lines => replaced(lines, field, to),
  });
  return [
    ...colons.map(colon => change(`with ${shown(colon)} for its colon`, it => [{ ...it, colon }])),
    ...ends.map(end => change(`with ${shown(end)} for its end`, it => [{ ...it, end }])),
    ...Object.entries(names).map(([what, to]) =>
      change(`${what}`, it => [{ ...it, name: to(it.name) }]),
    ),
    ...bytes.flatMap(byte => [
      change(`and ${shown(byte)}`, it => [{ ...it, value: it.value + byte }]),
      change(`behind ${shown(byte)}`, it => [{ ...it, value: byte + it.value }]),
      change(`with ${shown(byte)} in it`, it => [{ ...it, value: split(it.value, byte) }]),
    ]),
    change('left out', () => []),
    change('twice', it => [it, it]),
    change('behind a blank line', it => [raw('\n'), it]),
    { what: `${field} at the end`, to: lines => moved(lines, field, 'end') },
    { what: `${field} at the beginning`, to: lines => moved(lines, field, 'beginning') },
  ];
}

const half = (lines: Lines): number => Math.floor(lines.length / 2);

const split = (value: string, byte: string): string =>
  value.slice(0, value.length >> 1) + byte + value.slice(value.length >> 1);

const added = (what: string, place: (lines: Lines) => number, it: Line): Change<Lines> => ({
  what,
  to: lines => lines.toSpliced(place(lines), 0, it),
});

/** The first line of that name is replaced; there may be none. */
function replaced(lines: Lines, name: string, to: (it: Line) => readonly Line[]): Lines {
  const at = lines.findIndex(it => it.name === name);
  return at < 0 ? lines : lines.toSpliced(at, 1, ...to(lines[at]!));
}

function moved(lines: Lines, name: string, to: 'beginning' | 'end'): Lines {
  const own = lines.filter(it => it.name === name);
  const others = lines.filter(it => it.name !== name);
  return to === 'end' ? [...others, ...own] : [...own, ...others];
}
