/** What xz.ts uses of lzma-native, which ships no types. */
declare module 'lzma-native' {
  export const CHECK_CRC64: number;
  export const CONCATENATED: number;
  export const FILTER_LZMA2: string;

  /** One liblzma stream, run on the calling thread where `code` is told not to be asynchronous. */
  export class Stream {
    bufferHandler: (bytes: Buffer | null | undefined, chunks: unknown, error: unknown) => void;
    streamEncoder(options: { filters: readonly object[]; check: number }): void;
    streamDecoder(options: { memlimit: number; flags: number }): void;
    setBufsize(size: number): void;
    code(bytes: Uint8Array | null, asynchronous: boolean): void;
    resetUnderlying(): void;
  }
}
