/**
 * What a program costs, as the system accounts for it: wall time, CPU seconds of it and of all that it
 * started, and the peak memory of the largest of those processes.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { GranaryError } from '../src/errors.ts';
import { scratch } from '../test/clients/kept.ts';

export interface Cost {
  /** wall time */
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakMiB: number;
}

/** A program to run, by a prefix that measures it. */
export type Run = (
  prefix: readonly string[],
) => Promise<{ readonly code: number | null; readonly stderr: string }>;

const getrusage = { x64: 98, arm64: 165 }[process.arch as string];

/**
 * Every Debian has perl, and perl has the system's getrusage; Node has it for itself alone. The clock
 * starts after perl did.
 */
const script = `
use Time::HiRes 'time';
my ($file, @argv) = @ARGV;
my $start = time;
my $status = system @argv;
my $end = time;
my $usage = "\\0" x 144;
syscall(${getrusage}, -1, $usage);
my ($us, $uu, $ss, $su, $peak) = unpack 'q5', $usage;
open my $out, '>', $file or die $!;
printf $out "%f %f %d", $end - $start, $us + $uu / 1e6 + $ss + $su / 1e6, $peak;
close $out;
exit($status == -1 ? 127 : $status & 127 ? 128 + ($status & 127) : $status >> 8);
`;

/** @throws GranaryError `unavailable` when the program fails */
export async function measured(what: string, run: Run): Promise<Cost> {
  if (getrusage === undefined)
    throw new GranaryError('unavailable', `Cannot measure on ${process.arch}: no getrusage known`);
  const file = join(scratch(), 'cost');
  const { code, stderr } = await run(['perl', '-e', script, file]);
  if (code !== 0)
    throw new GranaryError('unavailable', `Cannot measure ${what}: it failed\n${stderr}`);
  const [seconds, cpuSeconds, peakKiB] = readFileSync(file, 'latin1').split(' ').map(Number);
  rmSync(file);
  return { seconds: seconds!, cpuSeconds: cpuSeconds!, peakMiB: peakKiB! / 1024 };
}

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
};
