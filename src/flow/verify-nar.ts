/** What a NAR file is, against what the narinfos that name it say it is. */
import type { NarClaim, NarFacts, NarFault } from '../cache/nar-check.ts';
import type { ErrorCode } from '../errors.ts';
import { partsOf } from '../format/content-address.ts';
import { algorithmOf, type HashAlgorithm } from '../format/hash.ts';
import { type BareInfo, narInfoKey } from '../format/narinfo.ts';
import { hashPart } from '../format/store-path.ts';
import { type Finding, type FindingId, finding } from './findings.ts';
import { addressedPart } from './verify-narinfo.ts';

/** What to look for in a NAR beside its hash. */
interface Asked {
  /** Bytes of the longest listing that is stated; 0 when there is none. */
  readonly listingLimit: number;
  readonly members?: readonly string[];
}

/** What has to be learnt of a file for all the narinfos that name it. */
export function claimOf(
  infos: readonly BareInfo[],
  { listingLimit, members = [] }: Asked,
): NarClaim {
  const partIs = (part: ReturnType<typeof addressedPart>): readonly BareInfo[] =>
    infos.filter(info => addressedPart(info) === part);
  const algorithmsOf = (those: readonly BareInfo[]): readonly HashAlgorithm[] => [
    ...new Set(those.map(info => algorithmOf(partsOf(info.ca!)[1]))),
  ];
  return {
    compression: infos[0]!.file.compression,
    limit: infos.reduce((most, { narSize }) => Math.max(most, narSize), 0),
    listingLimit,
    members,
    selves: partIs('modulo').map(info => hashPart(info.path)),
    nars: algorithmsOf(partIs('nar')).filter(algorithm => algorithm !== 'sha256'),
    contents: algorithmsOf(partIs('content')),
  };
}

const faultIds: Readonly<Record<NarFault['kind'], FindingId>> = {
  unread: 'compression-unread',
  data: 'data-malformed',
  nar: 'nar-malformed',
  long: 'nar-size-wrong',
  trailing: 'data-trailing',
};

/** What is untrue of what one narinfo says. */
export function* narFindings(info: BareInfo, facts: NarFacts): Generator<Finding> {
  const { path, file, narHash, narSize } = info;
  const { url, compression, fileHash } = file;
  const { fault, looksLike } = facts;
  const say = (id: FindingId, what: string): Finding => finding(id, url, `${url} ${what}`, path);
  if (fileHash !== undefined && facts.fileHash !== fileHash)
    yield say(
      'file-hash-wrong',
      `has the hash ${facts.fileHash}, and its narinfo says ${fileHash}`,
    );
  if (fault && looksLike !== undefined && looksLike !== compression) {
    yield say('compression-wrong', `is ${looksLike}, and its narinfo says ${compression}`);
    return; // what comes out under a wrong label says nothing of the NAR
  }
  if (fault) yield say(faultIds[fault.kind], `is not whole: ${fault.message}`);
  if (facts.narHash !== undefined && facts.narHash !== narHash)
    yield say(
      'nar-hash-wrong',
      `holds a NAR with the hash ${facts.narHash}, and its narinfo says ${narHash}`,
    );
  if (facts.narSize !== undefined && facts.narSize !== narSize)
    yield say(
      'nar-size-wrong',
      `holds a NAR of ${facts.narSize} bytes, and its narinfo says ${narSize}`,
    );
  if (fault === undefined && !contentIsAsAddressed(info, facts))
    yield finding(
      'ca-wrong',
      narInfoKey(path),
      `The content address ${info.ca} is not that of what ${url} holds`,
      path,
    );
}

/** The code of an error that says so: what cannot be read here may be right. */
export const codeOf = ({ id }: Finding): ErrorCode =>
  id === 'compression-unread' ? 'usage' : 'corrupt';

function contentIsAsAddressed(info: BareInfo, facts: NarFacts): boolean {
  const part = addressedPart(info);
  if (part === undefined) return true;
  const [, hash] = partsOf(info.ca!);
  if (part === 'nar') return [facts.narHash, facts.narHashes[algorithmOf(hash)]].includes(hash);
  if (part === 'modulo') return facts.moduloHashes[hashPart(info.path)] === hash;
  return facts.contentHashes[algorithmOf(hash)] === hash;
}
