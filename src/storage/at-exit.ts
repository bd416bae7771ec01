/** What is cleaned up when the process ends: by one listener, however many there are (Node warns of the eleventh). */
const cleanups = new Set<() => void>();

/** Gives what takes it back. */
export function atExit(clean: () => void): () => void {
  if (cleanups.size === 0) process.on('exit', cleanAll);
  cleanups.add(clean);
  return () => {
    cleanups.delete(clean);
    if (cleanups.size === 0) process.off('exit', cleanAll);
  };
}

function cleanAll(): void {
  for (const clean of cleanups) clean();
}
