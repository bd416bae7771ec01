/**
 * A Storage in a bucket of S3, or of what speaks as it does.
 *
 * S3 shows an object whole or not at all, and has it safe before it says so: puts need no temporary names,
 * publish no flush, and writers no lock. Small values go in one request; big ones in parts, of which few are in
 * memory at once, and which are taken back when their source fails. A process that is killed in between leaves parts
 * that cost money: give the bucket a lifecycle rule that aborts multipart uploads.
 */
import { Readable } from 'node:stream';
import { type Bytes, collect } from '../bytes.ts';
import { GranaryError } from '../errors.ts';
import { Budget } from './budget.ts';
import { cut, encodingIn, withoutEncoding } from './content-encoding.ts';
import { putInOrder } from './in-order.ts';
import { type Opened, openClient } from './s3-client.ts';
import { openDownload } from './s3-download.ts';
import { explainedS3, NotS3 } from './s3-error.ts';
import { parseS3Url, type S3Place, usualRegion } from './s3-url.ts';
import { servedAs } from './served-as.ts';
import { type Body, checkKey, isKey, type Stat, type Storage, type Thing } from './storage.ts';

/** Parts of one value that are on their way; one more is being read. */
const partsInFlight = 2;
/** Of what is being put: 1 GB of packages takes 189 MiB in all, 254 with twice as much, and is as fast. */
const bytesInMemory = 48 << 20;
/** S3 takes no more parts than this. */
const mostParts = 10_000;
/** Small values are read at once, so that their connection is free again. */
const smallBytes = 256 << 10;
/** Narinfos that are put at once. */
const putsAtOnce = 32;

/** Opens a bucket, which has to exist; asks it nothing yet. */
export function s3Storage(name: string): Storage {
  const place = parseS3Url(name);
  const { bucket: Bucket, prefix } = place;
  const keyOf = (key: string): string => prefix + checkKey(key);
  let opening: Promise<Opened> | undefined;
  const opened = (): Promise<Opened> => {
    opening ??= openClient(place);
    return opening;
  };
  /** Who may not list a bucket is told 403 for what is not there: so Nix takes it, once a value was read. */
  let hasGiven = false;
  /** Who may list it is told the truth of what is not there. */
  let hasListed = false;

  /** Does something with the client; what the server refuses is told as a sentence. */
  const ask = async <T>(doing: string, action: (opened: Opened) => Promise<T>): Promise<T> => {
    let isSigned = true;
    try {
      const client = await opened();
      isSigned = client.isSigned;
      return await action(client);
    } catch (error) {
      throw explainedS3(error, doing, place, isSigned);
    }
  };

  const read = <T>(key: string, action: (opened: Opened) => Promise<T>): Promise<T | undefined> =>
    ask(`read "${key}"`, async client => {
      try {
        const found = await action(client);
        hasGiven = true;
        return found;
      } catch (error) {
        if (isAbsent(error as Error, hasGiven && !hasListed)) return undefined;
        throw error;
      }
    });

  const budget = new Budget(bytesInMemory);
  const put = (key: string, body: Body): Promise<void> => {
    const isWhole = body.size <= place.wholeBytes;
    const partSize = Math.max(place.partBytes, Math.ceil(body.size / mostParts));
    const needed = isWhole ? body.size : partSize * (partsInFlight + 1);
    return budget.spend(needed, () =>
      ask(`write "${key}"`, async ({ client, sdk, Upload }) => {
        const { type, cacheControl } = servedAs(key);
        const target = { Bucket, Key: keyOf(key), ContentType: type, CacheControl: cacheControl };
        if (isWhole) {
          const Body = await collect(checked(key, body), body.size);
          const put = { ...target, Body: Body!, ContentLength: body.size };
          const { ETag } = await client.send(new sdk.PutObjectCommand(put));
          if (ETag === undefined) throw new NotS3('it does not say what it has put');
          return;
        }
        await new Upload({
          client,
          params: { ...target, Body: Readable.from(checked(key, body), { objectMode: false }) },
          partSize,
          queueSize: partsInFlight,
          leavePartsOnError: false,
        }).done();
      }),
    );
  };

  /** All that lies below, in pages; with `Delimiter` only what lies directly there, and folders. */
  async function* pages(below: string, Delimiter?: string) {
    let ContinuationToken: string | undefined;
    do {
      const page = await ask('list it', ({ client, sdk }) =>
        client.send(
          new sdk.ListObjectsV2Command({
            Bucket,
            Prefix: prefix + below,
            ...(Delimiter === undefined ? {} : { Delimiter }),
            ...(ContinuationToken === undefined ? {} : { ContinuationToken }),
          }),
        ),
      );
      if (page.IsTruncated === undefined && page.KeyCount === undefined)
        throw explainedS3(new NotS3('its list is none'), 'list it', place, true);
      const next = page.IsTruncated ? page.NextContinuationToken : undefined;
      if (page.IsTruncated && (next === undefined || next === ContinuationToken))
        throw explainedS3(new NotS3('its list does not go on'), 'list it', place, true);
      hasListed = true;
      yield page;
      ContinuationToken = next;
    } while (ContinuationToken !== undefined);
  }

  async function* objects(below: string) {
    for await (const { Contents = [] } of pages(below))
      for (const { Key = '', Size: size = 0, LastModified: modified } of Contents)
        if (Key.startsWith(prefix + below))
          yield { key: Key.slice(prefix.length), size, ...(modified ? { modified } : {}) };
  }

  /** The bytes, with what breaks on their way told as a sentence. */
  async function* told(key: string, bytes: Bytes): AsyncGenerator<Uint8Array> {
    try {
      yield* bytes;
    } catch (error) {
      throw explainedS3(error, `read "${key}"`, place, true);
    }
  }

  const decoded = (key: string, encoding: string, bytes: AsyncGenerator<Uint8Array>) =>
    told(
      key,
      withoutEncoding(encoding, bytes, why => {
        throw explainedS3(new NotS3(why), `read "${key}"`, place, true);
      }),
    );

  /** Of what is stored encoded nobody says how big it is. */
  const sized = async (key: string, found: Partial<Stat>): Promise<Stat | undefined> => {
    if (found.size !== undefined) return { ...found, size: found.size };
    const value = await storage.get(key);
    if (!value) return undefined;
    let size = 0;
    for await (const chunk of value.bytes) size += chunk.length;
    return { ...found, size };
  };

  const storage: Storage = {
    url: shownUrl(place),
    isFar: true,

    head: async key => {
      const Key = keyOf(key);
      return read(key, async ({ client, sdk }) => {
        const found = await client.send(new sdk.HeadObjectCommand({ Bucket, Key }));
        const { ContentLength: size, LastModified: modified, ContentEncoding } = found;
        const isValue = size !== undefined && encodingIn(ContentEncoding) === undefined;
        return { ...(isValue ? { size } : {}), ...(modified ? { modified } : {}) };
      }).then(found => found && sized(key, found));
    },

    get: async (key, span) => {
      const Key = keyOf(key);
      if (span?.length === 0) return (await storage.head(key)) && { size: 0, bytes: [] };
      return read(key, async opened => {
        const at = { Bucket, Key };
        const found = await openDownload(opened, at, span).catch(error => {
          if ((error as Error).name !== 'InvalidRange') throw error;
          return undefined; // it ends before the span, if it is stored as it is
        });
        if (found && found.encoding === undefined) {
          const { size, bytes } = found;
          if (size > smallBytes) return { size, bytes: told(key, bytes) };
          return { size, bytes: [(await collect(bytes, size))!] };
        }
        if (found && !span) return { bytes: decoded(key, found.encoding!, found.bytes) };
        found?.drop(); // a span of the encoded bytes is none of the value
        const whole = await openDownload(opened, at);
        if (whole.encoding !== undefined)
          return { bytes: cut(decoded(key, whole.encoding, whole.bytes), span!) };
        whole.drop();
        return { size: 0, bytes: [] };
      });
    },

    put: async (key, body) => put(checkKey(key), body),

    async publish(entries) {
      for (const { key, body } of entries) {
        checkKey(key);
        for await (const _ of checked(key, body)); // nothing of a batch that cannot be put whole
      }
      await putInOrder(entries, putsAtOnce, ({ key, body }) => put(key, body));
    },

    delete: async key => {
      const Key = keyOf(key);
      await ask(`delete "${key}"`, ({ client, sdk }) =>
        client.send(new sdk.DeleteObjectCommand({ Bucket, Key })),
      );
    },

    async *list(below) {
      for await (const found of objects(below)) if (isKey(found.key)) yield found;
    },

    async *inventory() {
      const folders = new Set<string>(); // S3 has none: what keys have before a slash counts as one
      for await (const { key, size } of objects('')) {
        yield* foldersOf(key, folders);
        if (isKey(key)) yield { key, kind: 'value', size };
        else if (!key.endsWith('/')) yield { key, kind: 'other', size }; // else a console's mark of a folder
      }
    },

    async top() {
      const names: string[] = [];
      for await (const { Contents = [], CommonPrefixes = [] } of pages('', '/')) {
        for (const { Key = '' } of Contents) names.push(Key.slice(prefix.length));
        for (const { Prefix = '' } of CommonPrefixes) names.push(Prefix.slice(prefix.length, -1));
      }
      return names.filter(Boolean);
    },
  };
  return storage;
}

/** With what another program needs to find it. */
function shownUrl({ bucket, prefix, endpoint, region }: S3Place): string {
  const parameters = [
    ...(endpoint === undefined ? [] : [`endpoint=${endpoint}`]),
    ...(region === usualRegion ? [] : [`region=${region}`]),
  ];
  const query = parameters.length === 0 ? '' : `?${parameters.join('&')}`;
  return `s3://${[bucket, ...prefix.split('/').filter(Boolean)].join('/')}${query}`;
}

/** A missing bucket is no absent value; where the answer has no body, as that to HEAD, nobody can tell. */
function isAbsent({ name }: Error, hasGiven: boolean): boolean {
  if (name === 'NotFound' || name === 'NoSuchKey') return true;
  return hasGiven && (name === 'AccessDenied' || name === 'Forbidden' || name === '403');
}

/** The body's bytes, which throw when they are not as many as it says. */
async function* checked(key: string, body: Body): AsyncGenerator<Uint8Array> {
  let size = 0;
  const refuse = (): GranaryError =>
    new GranaryError('corrupt', `Cannot put "${key}": the source has another size than it said`, {
      expected: body.size,
      actual: size,
    });
  for await (const chunk of body.open()) {
    size += chunk.length;
    if (size > body.size) throw refuse();
    yield chunk;
  }
  if (size !== body.size) throw refuse();
}

function* foldersOf(key: string, seen: Set<string>): Generator<Thing> {
  for (let end = key.indexOf('/'); end > 0; end = key.indexOf('/', end + 1)) {
    const folder = key.slice(0, end);
    if (seen.has(folder)) continue;
    seen.add(folder);
    yield { key: folder, kind: 'folder', size: 0 };
  }
}
