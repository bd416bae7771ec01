/** How time and memory grow with the number of paths and with the bytes: one SVG, drawn from measurements. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { many, oneFile } from './corpora.ts';
import type { Cost } from './measure.ts';
import { granary, granaryMake } from './peers.ts';
import { dropTarget, newTarget } from './target.ts';

interface Point extends Cost {
  readonly x: number;
}

interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

const pathCounts = [1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];
const mebibytes = [96, 256, 512, 1024, 2048, 4096, 8192];

/** Measures, prints and draws into `folder`/cost.svg. */
export async function plot(folder: string): Promise<void> {
  const byPaths = await growth(pathCounts, many);
  const byBytes = await growth(mebibytes, oneFile);
  for (const { name, points } of [...byPaths, ...byBytes])
    for (const { x, seconds, peakMiB } of points)
      console.log(`${name} of ${x}: ${seconds.toFixed(2)} s, ${peakMiB.toFixed(0)} MiB`);
  const charts = [
    chart('seconds by paths', byPaths, each => each.seconds),
    chart('peak MiB by paths', byPaths, each => each.peakMiB),
    chart('seconds by MiB in one file', byBytes, each => each.seconds),
    chart('peak MiB by MiB in one file', byBytes, each => each.peakMiB),
  ];
  const [width, height] = [460, 320];
  const placed = charts.map(
    (svg, at) => `<g transform="translate(${(at % 2) * width} ${(at >> 1) * height})">${svg}</g>`,
  );
  writeFileSync(
    join(folder, 'cost.svg'),
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${2 * width} ${2 * height}" font-family="sans-serif" font-size="11"><title>Seconds and memory of make and verify, by paths and by bytes</title><rect width="100%" height="100%" fill="white"/>\n${placed.join('\n')}\n</svg>\n`,
  );
}

type CorpusOf = (x: number) => ReturnType<typeof many>;

async function growth(xs: readonly number[], corpusOf: CorpusOf): Promise<readonly Series[]> {
  const series: Record<'make' | 'verify' | 'verify --quick', Point[]> = {
    make: [],
    verify: [],
    'verify --quick': [],
  };
  for (const x of xs) {
    const corpus = await corpusOf(x);
    const [first, to] = [newTarget(), newTarget()];
    await granaryMake()(corpus, first); // for the file system's cache
    dropTarget(first);
    series.make.push({ x, ...(await granaryMake()(corpus, to)) });
    series.verify.push({ x, ...(await granary(['verify', '--quiet', to])) });
    series['verify --quick'].push({ x, ...(await granary(['verify', '--quick', '--quiet', to])) });
    dropTarget(to);
  }
  return Object.entries(series).map(([name, points]) => ({ name, points }));
}

const colours = ['#0b6e4f', '#b5179e', '#f77f00'];

function chart(title: string, series: readonly Series[], value: (point: Point) => number): string {
  const [left, top, width, height] = [50, 30, 380, 240];
  const points = series.flatMap(each => each.points);
  const mostX = Math.max(...points.map(each => each.x));
  const mostY = Math.max(...points.map(value)) * 1.05;
  const px = (x: number): string => (left + (x / mostX) * width).toFixed(1);
  const py = (y: number): string => (top + height - (y / mostY) * height).toFixed(1);
  const text = (x: number | string, y: number | string, words: string, anchor = 'middle') =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}">${words}</text>`;
  const ticks = [0, 0.25, 0.5, 0.75, 1].flatMap(part => [
    text(px(mostX * part), top + height + 15, String(Math.round(mostX * part))),
    text(left - 5, py(mostY * part), (mostY * part).toPrecision(2), 'end'),
    `<path d="M${left} ${py(mostY * part)}h${width}" stroke="#ddd"/>`,
  ]);
  const lines = series.map(({ name, points }, at) => {
    const path = points.map(each => `${px(each.x)},${py(value(each))}`);
    const colour = colours[at]!;
    const dots = path.map(
      each =>
        `<circle cx="${each.split(',')[0]}" cy="${each.split(',')[1]}" r="2.5" fill="${colour}"/>`,
    );
    return `<polyline points="${path.join(' ')}" fill="none" stroke="${colour}" stroke-width="1.5"/>${dots.join('')}<text x="${left + 10}" y="${top + 15 + at * 14}" fill="${colour}">${name}</text>`;
  });
  return [text(left + width / 2, 18, title), ...ticks, ...lines].join('\n');
}
