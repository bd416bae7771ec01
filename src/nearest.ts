/** The word that was probably meant: at most two letters, or a third of them, away. */
export function nearest(text: string, words: readonly string[]): string | undefined {
  const allowed = Math.max(2, Math.floor(text.length / 3));
  return words
    .map(word => ({ word, distance: distance(text, word) }))
    .filter(
      candidate => candidate.distance <= allowed && candidate.distance < candidate.word.length,
    )
    .sort((a, b) => a.distance - b.distance)[0]?.word;
}

/** Levenshtein's distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
