/** How a finding looks. */
import type { Finding } from '../flow/findings.ts';
import type { Face } from './face.ts';

export function showFinding(
  { id, severity, message, advice, key, path }: Finding,
  face: Face,
): void {
  face.show(
    {
      type: 'finding',
      id,
      severity,
      key,
      ...(path === undefined ? {} : { path }),
      message,
      advice,
    },
    `${severity} ${id}: ${message}; ${advice}.`,
  );
}
