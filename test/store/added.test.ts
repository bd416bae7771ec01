import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { defaultStoreDir } from '../../src/format/store-path.ts';
import { addedStore, parsePlainTree } from '../../src/store/added.ts';
import { temporaryFolder } from '../temporary.ts';

const folder = temporaryFolder();
mkdirSync(join(folder, 'dir'));
writeFileSync(join(folder, 'file.txt'), 'x');
writeFileSync(join(folder, 'a=b'), 'x');
writeFileSync(join(folder, 'ő'), 'x');
writeFileSync(join(folder, 'with space'), 'x');
symlinkSync('dir', join(folder, 'link'));

for (const [text, file, name] of [
  ['file.txt', 'file.txt', 'file.txt'],
  ['dir', 'dir', 'dir'],
  ['dir/', 'dir', 'dir'],
  ['dir///', 'dir', 'dir'],
  ['dir=site', 'dir', 'site'],
  ['dir/=site', 'dir', 'site'],
  ['link', 'link', 'link'],
  ['link=l', 'link', 'l'],
  ['a=b=c', 'a=b', 'c'],
  ['with space=with-space', 'with space', 'with-space'],
  ['ő=o', Buffer.from('ő').toString('latin1'), 'o'],
  ['.=here', '.', 'here'],
] as const)
  test(`--add ${text} is ${name}`, () => {
    const { file: found, name: called } = parsePlainTree(`${folder}/${text}`);
    assert.deepEqual([found, called], [`${folder}/${file}`, name]);
  });

for (const [what, text, code, message] of [
  ['a dot', '.', 'usage', /give one with --add \.=NAME/],
  ['two dots', '..', 'usage', /=NAME/],
  ['the root', '/', 'usage', /=NAME/],
  ['a name with a blank', join(folder, 'with space'), 'usage', /"with space".*=NAME/],
  ['a name beyond ASCII', join(folder, 'ő'), 'usage', /"ő".*=NAME/],
  ['an empty name', `${join(folder, 'dir')}=`, 'usage', /=NAME/],
  ['a given name that is none', `${join(folder, 'dir')}=a b`, 'usage', /"a b"/],
  ['a link with a slash', join(folder, 'link/'), 'usage', /it is a link with a slash/],
  ['nothing', join(folder, 'gone'), 'absent', /there is nothing of that name/],
  ['the name a=b itself', join(folder, 'a=b'), 'absent', /nothing of that name/],
] as const)
  test(`--add refuses ${what} as ${code}`, () => {
    assert.throws(() => parsePlainTree(text), { name: 'GranaryError', code, message });
  });

test('an added tree is its own store, with a content address and no references', async () => {
  const tree = parsePlainTree(join(folder, 'file.txt'));
  const store = await addedStore([tree], defaultStoreDir);
  const [path] = store.roots;
  const info = await store.info(path!);
  assert.equal(info?.ca, `fixed:r:${info?.narHash}`);
  assert.deepEqual([info?.references, info?.signatures, info?.narSize], [[], [], 120]);
  assert.deepEqual(store.content(path!), { tree: tree.file });
  assert.deepEqual(await store.byHashPart(path!.slice(11, 43)), info);
});
