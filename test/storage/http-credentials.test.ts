import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNetrc } from '../../src/storage/http-credentials.ts';

const entry = (machine: string, login: string, password: string) => ({ machine, login, password });

for (const [what, [text, expected]] of Object.entries({
  'one line': ['machine h login l password p', [entry('h', 'l', 'p')]],
  'many lines': ['machine h\n\tlogin l\r\n\tpassword p\n', [entry('h', 'l', 'p')]],
  'two entries': [
    'machine a login b password c\nmachine d password f login e',
    [entry('a', 'b', 'c'), entry('d', 'e', 'f')],
  ],
  'a default': ['default login l password p', [{ login: 'l', password: 'p' }]],
  'an account': ['machine h login l account login password p', [entry('h', 'l', 'p')]],
  quotes: ['machine h login "a b" password "c\\"d\\\\\\n"', [entry('h', 'a b', 'c"d\\\n')]],
  'a password like a comment': ['machine h login l password #p', [entry('h', 'l', '#p')]],
  'a password like a keyword': [
    'machine h login machine password login',
    [entry('h', 'machine', 'login')],
  ],
  comments: ['# machine x login y\nmachine h login l password p', [entry('h', 'l', 'p')]],
  'a macro': [
    'macdef init\nmachine x\nlogin y\n\nmachine h login l password p',
    [entry('h', 'l', 'p')],
  ],
  'a macro at the end': [
    'machine h login l password p\nmacdef init\nmachine x',
    [entry('h', 'l', 'p')],
  ],
  'an end in the middle': ['machine h login', [entry('h', '', '')]],
  'no entry before a login': ['login l password p', []],
  nothing: ['', []],
} satisfies Record<string, readonly [string, unknown]>))
  test(`netrc: ${what}`, () => assert.deepEqual(parseNetrc(text), expected));
