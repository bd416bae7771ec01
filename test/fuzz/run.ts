/**
 * `npm run fuzz -- [--seconds N] [--seed N]` drives every parser by hostile input for so long;
 * `npm run fuzz -- --target NAME --input BASE64` runs one input again.
 */
import { parseArgs } from 'node:util';
import { fuzz } from './fuzzer.ts';
import { targets } from './targets.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    target: { type: 'string' },
    input: { type: 'string', default: '' },
  },
});

if (values.target === undefined)
  await fuzz(
    { seed: Number(values.seed), until: { time: Date.now() + 1000 * Number(values.seconds) } },
    line => console.log(line),
  );
else {
  const target = targets.find(({ name }) => name === values.target);
  if (!target) throw new Error(`Name one of: ${targets.map(({ name }) => name).join(', ')}`);
  const input = Buffer.from(values.input, 'base64').toString('latin1');
  console.log((await target.accepts(input)) ? 'accepted' : 'refused');
}
