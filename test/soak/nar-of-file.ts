/** The NAR of a single regular file, written with no code of ours. */
export function narOfFile(content: string): Buffer {
  const string = (text: string): Buffer => {
    const bytes = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8);
    bytes.writeUInt32LE(text.length);
    bytes.write(text, 8, 'latin1');
    return bytes;
  };
  const words = ['nix-archive-1', '(', 'type', 'regular', 'contents', content, ')'];
  return Buffer.concat(words.map(string));
}
