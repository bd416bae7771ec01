/** The damage gallery: everything that can be wrong with a cache, done to a whole one, and what has to be found. */
import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { FindingId } from '../../src/flow/findings.ts';
import { sha256 } from '../../src/format/hash.ts';
import { parseNarInfo } from '../../src/format/narinfo.ts';
import { baseName, defaultStoreDir, hashPart } from '../../src/format/store-path.ts';
import type { Healthy, Name } from './healthy.ts';

/** A cache to damage. */
export class Patient {
  readonly #healthy: Pick<Healthy, 'paths'>;
  readonly dir: string;

  constructor(healthy: Pick<Healthy, 'paths'>, dir: string) {
    this.#healthy = healthy;
    this.dir = dir;
  }

  file(key: string): string {
    return join(this.dir, key);
  }

  key(name: Name): string {
    return `${hashPart(this.#healthy.paths[name])}.narinfo`;
  }

  base(name: Name): string {
    return baseName(this.#healthy.paths[name]);
  }

  text(name: Name): string {
    return readFileSync(this.file(this.key(name)), 'latin1');
  }

  url(name: Name): string {
    return parseNarInfo(this.text(name), defaultStoreDir).file.url;
  }

  /** Changes the narinfo of a path. */
  edit(name: Name, change: (text: string) => string): void {
    writeFileSync(this.file(this.key(name)), change(this.text(name)), 'latin1');
  }

  field(name: Name, field: string, value: string): void {
    this.edit(name, text => text.replace(new RegExp(`^${field}: .*$`, 'm'), `${field}: ${value}`));
  }

  /** Puts a debuginfo file there that says this. */
  link(says: object | null): void {
    writeFileSync(this.file(`debuginfo/${'a'.repeat(40)}.debug`), JSON.stringify(says));
  }

  /** Puts other bytes in the place of a NAR file, and says so in the narinfo. */
  repack(
    name: Name,
    change: (nar: Buffer) => Buffer,
    pack: (nar: Buffer) => Buffer = zstdCompressSync,
  ): void {
    const file = this.file(this.url(name));
    const packed = pack(change(zstdDecompressSync(readFileSync(file))));
    writeFileSync(file, packed);
    this.field(name, 'FileSize', String(packed.length));
    this.field(name, 'FileHash', sha256(packed));
  }
}

export interface Damage {
  readonly do: (patient: Patient) => void;
  /** All that has to be found, and nothing else. */
  readonly finds: readonly FindingId[];
  /** What of this can be seen without reading NARs; all of it, where this is left out. */
  readonly quick?: readonly FindingId[];
  /** Repair makes it whole: from a second cache byte for byte as that (`same`), or otherwise (`whole`). */
  readonly heals?: 'same' | 'whole';
}

const flip = (file: string, at: number): void => {
  const bytes = readFileSync(file);
  bytes[at < 0 ? bytes.length + at : at]! ^= 1;
  writeFileSync(file, bytes);
};

export const gallery: Readonly<Record<string, Damage>> = {
  'no nix-cache-info': {
    do: p => rmSync(p.file('nix-cache-info')),
    finds: ['cache-info-missing'],
    heals: 'whole',
  },
  'a Priority with which Nix dies': {
    do: p => appendFileSync(p.file('nix-cache-info'), 'Priority: high\n'),
    finds: ['cache-info-malformed'],
    heals: 'same',
  },
  'a store directory that can be none': {
    do: p => writeFileSync(p.file('nix-cache-info'), 'StoreDir: nix/store\nPriority: 30\n'),
    finds: ['cache-info-malformed'],
    heals: 'whole',
  },
  'a link in the place of nix-cache-info': {
    do: p => {
      rmSync(p.file('nix-cache-info'));
      writeFileSync(`${p.dir}.elsewhere`, 'StoreDir: /gnu/store\n'); // who reads it finds more
      symlinkSync(`${p.dir}.elsewhere`, p.file('nix-cache-info'));
    },
    finds: ['cache-info-missing', 'not-a-file'],
    heals: 'whole',
  },
  'no log folder': {
    do: p => rmSync(p.file('log'), { recursive: true }),
    finds: ['folder-missing'],
    heals: 'same',
  },
  'no build-trace-v2 folder, for the coming Nix': {
    do: p => rmSync(p.file('build-trace-v2'), { recursive: true }),
    finds: ['folder-missing'],
    heals: 'same',
  },
  'a file where a folder should be': {
    do: p => {
      rmSync(p.file('log'), { recursive: true });
      writeFileSync(p.file('log'), '');
    },
    finds: ['folder-missing', 'stranger'],
  },
  'a link out of the cache in the place of an empty folder': {
    do: p => {
      renameSync(p.file('log'), `${p.dir}.elsewhere`);
      symlinkSync(`${p.dir}.elsewhere`, p.file('log'));
    },
    finds: ['folder-missing', 'not-a-file'],
  },
  'a link out of the cache in the place of all NAR files': {
    do: p => {
      renameSync(p.file('nar'), `${p.dir}.elsewhere`);
      symlinkSync(`${p.dir}.elsewhere`, p.file('nar'));
    },
    finds: ['folder-missing', 'not-a-file', ...Array<'nar-missing'>(5).fill('nar-missing')],
  },
  'an empty folder': {
    do: p => rmSync(p.file('realisations/KEEP')),
    finds: ['folder-unkept'],
    heals: 'same',
  },
  'a folder with nothing but a left-over': {
    do: p => renameSync(p.file('log/KEEP'), p.file('log/KEEP.tmp-host.1-2-3')),
    finds: ['folder-unkept', 'temporary'],
  },
  'a narinfo that is no narinfo': {
    do: p => writeFileSync(p.file(p.key('app')), '<html>'),
    finds: ['narinfo-malformed', 'nar-orphan'],
    heals: 'same',
  },
  'an empty narinfo': {
    do: p => writeFileSync(p.file(p.key('twin')), ''),
    finds: ['narinfo-malformed'],
    heals: 'same',
  },
  'a narinfo that is longer than any': {
    do: p => truncateSync(p.file(p.key('app')), 65 << 20),
    finds: ['unreadable', 'nar-orphan'],
    heals: 'same',
  },
  'a narinfo of another hash than SHA-256, for which Nix dies when it writes': {
    do: p => p.field('app', 'FileHash', `sha1:${'0'.repeat(32)}`),
    finds: ['narinfo-read-otherwise', 'file-hash-wrong'],
    quick: ['narinfo-read-otherwise'],
    heals: 'same',
  },
  'a narinfo with CRLF': {
    do: p => p.edit('app', text => text.replaceAll('\n', '\r\n')),
    finds: ['narinfo-malformed'],
    heals: 'same',
  },
  'a narinfo with a bad signature line': {
    do: p => p.edit('app', text => text.replace(/^Sig: .*$/m, 'Sig: nothing')),
    finds: ['narinfo-malformed'],
    heals: 'same',
  },
  'a narinfo under a wrong name': {
    do: p => copyFileSync(p.file(p.key('base')), p.file(`${'9'.repeat(32)}.narinfo`)),
    finds: ['narinfo-misnamed'],
    heals: 'same',
  },
  'a narinfo of another store': {
    do: p =>
      p.edit('app', text => text.replace('StorePath: /nix/store/', 'StorePath: /gnu/store/')),
    finds: ['narinfo-foreign'],
    heals: 'same',
  },
  'a field hidden by a blank line': {
    do: p => p.edit('app', text => text.replace('FileSize', '\nFileSize')),
    finds: ['narinfo-read-otherwise', 'file-size-unstated'],
    heals: 'same',
  },
  'no FileHash': {
    do: p => p.edit('app', text => text.replace(/^FileHash.*\n/m, '')),
    finds: ['narinfo-read-otherwise'],
    heals: 'same',
  },
  'a URL that climbs': {
    do: p => p.field('app', 'URL', '../x.nar'),
    finds: ['url-unsafe', 'nar-orphan'],
    heals: 'same',
  },
  'an absolute URL': {
    do: p => p.field('app', 'URL', '/etc/passwd'),
    finds: ['url-unsafe', 'nar-orphan'],
    heals: 'same',
  },
  'a URL with a blank': {
    do: p => {
      const [url, spaced] = [p.url('app'), 'nar/a b.nar'];
      renameSync(p.file(url), p.file(spaced));
      p.field('app', 'URL', spaced);
    },
    finds: ['url-unsafe'],
    heals: 'whole',
  },
  'a URL beyond ASCII': {
    do: p => p.field('app', 'URL', 'nar/\xff.nar'),
    finds: ['url-unsafe', 'nar-orphan'],
    heals: 'same',
  },
  'a URL with a query': {
    do: p => p.edit('app', text => text.replace(/^URL: .*$/m, '$&?hash=x')),
    finds: ['url-query', 'nar-orphan'],
    heals: 'same',
  },
  'a URL of the web': {
    do: p => p.field('app', 'URL', 'https:x.org/nar'),
    finds: ['url-query', 'nar-orphan'],
    heals: 'same',
  },
  'no NAR file': { do: p => rmSync(p.file(p.url('app'))), finds: ['nar-missing'], heals: 'same' },
  'a folder in the place of a NAR file': {
    do: p => {
      const file = p.file(p.url('app'));
      rmSync(file);
      mkdirSync(join(file, 'x'), { recursive: true });
    },
    finds: ['nar-missing'],
  },
  'a NAR file cut short': {
    do: p => truncateSync(p.file(p.url('app')), 60),
    finds: ['file-size-wrong', 'file-hash-wrong', 'data-malformed'],
    quick: ['file-size-wrong'],
    heals: 'same',
  },
  'an empty NAR file': {
    do: p => truncateSync(p.file(p.url('app')), 0),
    finds: ['file-size-wrong', 'file-hash-wrong', 'data-malformed'],
    quick: ['file-size-wrong'],
    heals: 'same',
  },
  'a flipped bit in a NAR file': {
    do: p => flip(p.file(p.url('lib')), 2),
    finds: ['file-hash-wrong', 'data-malformed'],
    quick: [],
    heals: 'same',
  },
  'a FileHash that is not true': {
    do: p => p.field('app', 'FileHash', sha256('other')),
    finds: ['file-hash-wrong'],
    quick: [],
    heals: 'same',
  },
  'a FileSize that is not true': {
    do: p => p.field('app', 'FileSize', '17'),
    finds: ['file-size-wrong'],
    heals: 'same',
  },
  'a wrong compression label': {
    do: p => p.field('app', 'Compression', 'xz'),
    finds: ['compression-wrong'],
    quick: [],
    heals: 'whole',
  },
  'compressed data labelled none': {
    do: p => p.field('app', 'Compression', 'none'),
    finds: ['compression-wrong'],
    quick: [],
    heals: 'whole',
  },
  'no Compression line, which means bzip2': {
    do: p => p.edit('app', text => text.replace(/^Compression.*\n/m, '')),
    finds: ['compression-wrong'],
    quick: [],
    heals: 'same',
  },
  'a compression that cannot be read here': {
    do: p => {
      p.repack(
        'app',
        nar => nar,
        () => Buffer.from('LRZI what only lrzip reads'),
      );
      p.field('app', 'Compression', 'lrzip');
    },
    finds: ['compression-unread'],
    quick: [],
  },
  'truncated data in a file that is as stated': {
    do: p =>
      p.repack(
        'app',
        nar => nar,
        nar => zstdCompressSync(nar).subarray(0, -9),
      ),
    finds: ['data-malformed'],
    quick: [],
    heals: 'whole',
  },
  'bytes after the compressed data': {
    do: p =>
      p.repack(
        'app',
        nar => nar,
        nar => Buffer.concat([zstdCompressSync(nar), Buffer.from('junk')]),
      ),
    finds: ['data-malformed'],
    quick: [],
    heals: 'whole',
  },
  'bytes after the NAR': {
    do: p => p.repack('app', nar => Buffer.concat([nar, Buffer.from('junk')])),
    finds: ['data-trailing'],
    quick: [],
    heals: 'whole',
  },
  'a NAR cut short': {
    do: p => p.repack('app', nar => nar.subarray(0, -8)),
    finds: ['nar-malformed', 'nar-hash-wrong', 'nar-size-wrong'],
    quick: [],
    heals: 'whole',
  },
  'a NAR with broken grammar': {
    do: p =>
      p.repack('app', nar =>
        Buffer.from(nar.toString('latin1').replace('directory', 'Directory'), 'latin1'),
      ),
    finds: ['nar-malformed', 'nar-hash-wrong'],
    quick: [],
    heals: 'whole',
  },
  'other content in a NAR': {
    do: p =>
      p.repack('app', nar =>
        Buffer.from(nar.toString('latin1').replace('#!/bin/sh', '#!/bin/ed'), 'latin1'),
      ),
    finds: ['nar-hash-wrong'],
    quick: [],
    heals: 'whole',
  },
  'a NAR that is much too long': {
    do: p => p.repack('app', nar => Buffer.concat([nar.subarray(0, 100), Buffer.alloc(1 << 24)])),
    finds: ['nar-size-wrong'],
    quick: [],
    heals: 'whole',
  },
  'a NarHash that is not true': {
    do: p => p.field('app', 'NarHash', sha256('other')),
    finds: ['nar-hash-wrong'],
    quick: [],
    heals: 'whole',
  },
  'a NarSize that is too big': {
    do: p => p.field('app', 'NarSize', '100000'),
    finds: ['nar-size-wrong'],
    quick: [],
    heals: 'whole',
  },
  'a NarSize that is too small': {
    do: p => p.field('app', 'NarSize', '100'),
    finds: ['nar-size-wrong'],
    quick: [],
    heals: 'whole',
  },
  'a reference without a narinfo': {
    do: p => rmSync(p.file(p.key('base'))),
    finds: ['reference-missing', 'listing-orphan'],
    heals: 'same',
  },
  'a path that two refer to and that has no narinfo': {
    do: p => {
      p.edit('twin', text => text.replace(/^References: /m, `$&${p.base('base')} `));
      rmSync(p.file(p.key('base')));
    },
    finds: ['reference-missing', 'listing-orphan'],
    heals: 'whole',
  },
  'paths that refer to each other': {
    do: p => p.edit('base', text => text.replace(/^References: /m, `$&${p.base('app')}`)),
    finds: ['reference-circle', 'reference-circle', 'reference-circle'],
    heals: 'same',
  },
  'a content address that does not make the path': {
    do: p => p.field('plain', 'CA', `fixed:r:${sha256('other')}`),
    finds: ['ca-wrong', 'ca-wrong'],
    quick: ['ca-wrong'],
    heals: 'same',
  },
  'a content address that is not of the content': {
    do: p =>
      p.repack('plain', nar =>
        Buffer.from(nar.toString('latin1').replace('plain', 'Plain'), 'latin1'),
      ),
    finds: ['nar-hash-wrong', 'ca-wrong'],
    quick: [],
    heals: 'whole',
  },
  'two NAR hashes for one path': {
    do: p =>
      writeFileSync(
        p.file(`${'9'.repeat(32)}.narinfo`),
        p.text('twin').replace(/^NarHash: .*$/m, `NarHash: ${sha256('x')}`),
      ),
    finds: ['narinfo-misnamed', 'nar-hash-conflict'],
    heals: 'same',
  },
  'a listing that is no JSON': {
    do: p => writeFileSync(p.file(p.key('app').replace('narinfo', 'ls')), '{'),
    finds: ['listing-malformed'],
    heals: 'same',
  },
  'a listing that is no JSON, of a path without its NAR file': {
    do: p => {
      writeFileSync(p.file(p.key('app').replace('narinfo', 'ls')), '{');
      rmSync(p.file(p.url('app')));
    },
    finds: ['listing-malformed', 'nar-missing'],
    heals: 'same',
  },
  'a listing of less than there is': {
    do: p =>
      writeFileSync(
        p.file(p.key('app').replace('narinfo', 'ls')),
        '{"version":1,"root":{"type":"symlink","target":"x"}}',
      ),
    finds: ['listing-wrong'],
    quick: [],
    heals: 'same',
  },
  'a listing of something else': {
    do: p =>
      copyFileSync(
        p.file(p.key('base').replace('narinfo', 'ls')),
        p.file(p.key('app').replace('narinfo', 'ls')),
      ),
    finds: ['listing-wrong'],
    quick: [],
    heals: 'same',
  },
  'a listing of nothing': {
    do: p => writeFileSync(p.file(`${'9'.repeat(32)}.ls`), '{}'),
    finds: ['listing-orphan'],
  },
  'a debuginfo link to nowhere': {
    do: p => p.link({ archive: '../nar/gone.nar', member: 'x' }),
    finds: ['debuginfo-wrong'],
    heals: 'same',
  },
  'a debuginfo link to a file that its NAR does not have': {
    do: p => p.link({ archive: `../${p.url('lib')}`, member: 'lib' }),
    finds: ['debuginfo-wrong'],
    quick: [],
    heals: 'same',
  },
  'a debuginfo link without a target': {
    do: p => p.link(null),
    finds: ['debuginfo-wrong'],
    heals: 'same',
  },
  'a log of nothing': {
    do: p => writeFileSync(p.file(`log/${'9'.repeat(32)}-x.drv`), ''),
    finds: ['log-orphan'],
  },
  'a NAR file that nothing names': {
    do: p => writeFileSync(p.file(`nar/${'0'.repeat(52)}.nar`), ''),
    finds: ['nar-orphan'],
  },
  'a temporary of ours': {
    do: p => writeFileSync(p.file('nar/x.nar.tmp-host.1-2-3'), ''),
    finds: ['temporary'],
  },
  "a temporary of Nix's": {
    do: p => writeFileSync(p.file('x.narinfo.tmp.12.3'), ''),
    finds: ['temporary'],
  },
  'a link out of the cache in the place of a NAR file': {
    do: p => {
      const file = p.file(p.url('app'));
      renameSync(file, `${p.dir}.elsewhere`);
      symlinkSync(`${p.dir}.elsewhere`, file);
    },
    finds: ['nar-missing', 'not-a-file'],
    heals: 'same',
  },
  'a named pipe in the place of a narinfo': {
    do: p => {
      rmSync(p.file(p.key('twin')));
      spawnSync('mkfifo', [p.file(p.key('twin'))]);
    },
    finds: ['not-a-file'],
    heals: 'same',
  },
  'a named pipe in the place of a NAR file': {
    do: p => {
      const file = p.file(p.url('app'));
      rmSync(file);
      spawnSync('mkfifo', [file]);
    },
    finds: ['nar-missing', 'not-a-file'],
    heals: 'same',
  },
  'a folder in the place of a narinfo': {
    do: p => {
      rmSync(p.file(p.key('twin')));
      mkdirSync(p.file(p.key('twin')));
    },
    finds: ['not-a-file'],
  },
  'a folder in the place of a listing': {
    do: p => {
      rmSync(p.file(p.key('app').replace('narinfo', 'ls')));
      mkdirSync(p.file(p.key('app').replace('narinfo', 'ls')));
    },
    finds: ['not-a-file'],
  },
  'something else': { do: p => writeFileSync(p.file('thesis.txt'), ''), finds: ['stranger'] },
  'names that are no UTF-8': {
    do: p => {
      for (const name of ['\xff.narinfo', 'nar/\xff.nar', 'log/\xff.drv', '\xfe'])
        writeFileSync(Buffer.concat([Buffer.from(`${p.dir}/`), Buffer.from(name, 'latin1')]), '');
      mkdirSync(Buffer.concat([Buffer.from(`${p.dir}/`), Buffer.from('\xff', 'latin1')]));
    },
    finds: ['stranger', 'stranger', 'stranger', 'stranger'],
  },
  'a narinfo with a line break in its name': {
    do: p => copyFileSync(p.file(p.key('base')), p.file('a\nb.narinfo')),
    finds: ['narinfo-misnamed'],
    heals: 'same',
  },
};
