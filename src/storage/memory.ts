/** A Storage in memory: for tests, and for caches that are never written down. */
import { collect } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { checkKey, type Storage } from './storage.ts';

export function memoryStorage(url = 'memory:'): Storage {
  const values = new Map<string, Buffer>();
  const storage: Storage = {
    url,
    head: async key => {
      const value = values.get(checkKey(key));
      return value && { size: value.length };
    },
    get: async (key, span) => {
      const value = values.get(checkKey(key));
      if (!value) return undefined;
      const part = span ? value.subarray(span.start, span.start + span.length) : value;
      return { size: part.length, bytes: [part] };
    },
    put: async (key, body) => {
      checkKey(key);
      const value = await collect(body.open(), body.size);
      if (value?.length !== body.size)
        throw new GranaryError('corrupt', `Cannot put "${key}": it has not the size it claims`);
      values.set(key, value);
    },
    publish: async entries => {
      for (const { key, body } of entries) await storage.put(key, body);
    },
    delete: async key => {
      values.delete(checkKey(key));
    },
    list: async function* (prefix) {
      for (const [key, value] of [...values])
        if (key.startsWith(prefix)) yield { key, size: value.length };
    },
  };
  return storage;
}
