/** Numbers as people read them: powers of 1000, three digits. */

export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

export function secondsText(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(seconds < 9.95 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return `${parts[0]! > 0 ? `${parts[0]} h ` : ''}${parts[1]} min ${parts[2]} s`;
}

/** `1,234`: toLocaleString takes 15 ms to find out the same. */
export const countText = (count: number): string => String(count).replace(/\B(?=(\d{3})+$)/g, ',');

/** `1 path`, `2 paths`. */
export const counted = (count: number, noun: string): string =>
  `${countText(count)} ${noun}${count === 1 ? '' : 's'}`;

/** The bytes that `500MB`, `1.5G`, `2GiB` or `1000` means; undefined for what means none. */
export function parseBytes(text: string): number | undefined {
  const [, digits, unit = '', binary] = /^(\d+(?:\.\d+)?)(?:([kKMGTP])(i)?)?B?$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  return Math.round(
    Number(digits) * (binary ? 1024 : 1000) ** ' KMGTP'.indexOf(unit.toUpperCase() || ' '),
  );
}
