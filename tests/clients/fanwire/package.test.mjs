// What is shipped: its size, where it comes from, that its types are true of it and useful.
import assert from 'node:assert/strict';
import { readFile, mkdtemp, writeFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { shipped } from './minify.mjs';

const BYTES_MAX = 5000;
const folder = new URL('../../../src/client/', import.meta.url);
const text = (name) => readFile(new URL(name, folder), 'utf8');

test('what is shipped is below 5,000 bytes when gzipped, and one file', async () => {
  const code = await shipped();
  const { length } = gzipSync(code, { level: 9 });
  assert.ok(length < BYTES_MAX, `${length} bytes`);
  assert.doesNotMatch(code, /\bimport\b|\brequire\(/);
});

test('what is shipped is made of the source', async () => {
  const { minified } = await import('./minify.mjs');
  assert.equal(await shipped(), await minified(), 'run: node tests/clients/fanwire/minify.mjs');
});

test('the package names its files, and has the version of the server', async () => {
  const told = JSON.parse(await text('package.json'));
  for (const name of told.files) await text(name);
  const [, version] = /\[workspace\.package\]\nversion = "([^"]+)"/.exec(await readFile(new URL('../../Cargo.toml', folder), 'utf8'));
  assert.equal(told.version, version);
  assert.equal(told.dependencies, undefined);
});

test('the types have what the module exports, and its classes their members', async () => {
  const types = await text('fanwire.d.ts');
  const module = await import('../../../src/client/fanwire.js');
  const declared = [...types.matchAll(/export declare class (\w+)/g)].map(([, name]) => name);
  assert.deepEqual(declared.sort(), Object.keys(module).sort());
  const own = (proto) => Object.getOwnPropertyNames(proto).filter((name) => !/^_|^constructor$/.test(name));
  const { Fanwire } = module;
  const client = new Fanwire('ws://localhost/ws');
  const subscription = client.subscribe('r');
  const members = (object) => {
    const all = [];
    for (let proto = Object.getPrototypeOf(object); proto !== Object.prototype; proto = Object.getPrototypeOf(proto)) all.push(...own(proto));
    return [...new Set([...all, ...Object.keys(object)])].filter((name) => !name.startsWith('_')).sort();
  };
  const body = (head) => types.split(head)[1].split('\n}')[0].replace(/\/\*\*.*?\*\//gs, '');
  const named = (head) => [...body(head).matchAll(/^  (?:readonly )?(\w+)[?(<:]/gm)].map(([, name]) => name).filter((name) => name !== 'constructor');
  const isOptional = ['id', 'user', 'reason'];
  assert.deepEqual([...new Set([...members(client), ...isOptional])].sort(), named('export declare class Fanwire {').sort());
  assert.deepEqual([...new Set([...members(subscription), 'reason'])].sort(), named('export interface Subscription<').sort());
});

// A program in TypeScript that uses all of it, and lines that must not compile.
const PROGRAM = `
import { Fanwire, FanwireError, Unauthorized, type Message, type Position } from 'fanwire';
interface Note { title: string }
const isNote = (data: unknown): data is Note => typeof (data as Note)?.title === 'string';
const client = new Fanwire('/ws', {
  getToken: async ({ reason, signal }) => {
    const response = await fetch('/token?' + reason, { signal });
    if (response.status === 403) throw new Unauthorized();
    return response.text();
  },
  backoff: { max: 30_000 },
  batch: 50,
}).connect();
const off: () => void = client.on('state', ({ state, reason, since }) => console.log(state, reason?.retry, since));
client.on('error', (error) => error instanceof FanwireError && console.log(error.code, error.retry, error.room));
const notes = client.subscribe<Note>('user:ann', ({ data, offset, at }) => console.log(data.title, offset, at.getTime()), {
  guard: isNote,
  presence: true,
  load: async ({ why, signal }): Promise<Position> => (await fetch('/notes?' + why, { signal })).json(),
});
notes.on('presence', ({ joined, count }) => console.log(joined[0]?.user, count, notes.presence.members.size));
notes.on('gap', ({ why, lost }) => console.log(why, lost));
async function run() {
  await client.ready(5_000);
  const { offset } = await notes.publish({ title: 'hello' }, { queue: true });
  for await (const message of notes) { const one: Message<Note> = message; console.log(one.data.title, offset); break; }
  client.keep('apply_filter', { filter: { status: 'active' } });
  client.setToken(null);
  off();
  notes.unsubscribe();
}
run();
// @ts-expect-error: the types of data are held
notes.publish({ titel: 'hello' });
// @ts-expect-error: there is no such event
client.on('open', () => {});
// @ts-expect-error: nor such a state
if (client.state === 'failed') off();
// @ts-expect-error: read-only
client.state = 'connected';
`;

test('a program in TypeScript compiles against the types, and wrong ones do not', async () => {
  const { default: ts } = await import('typescript');
  const place = await mkdtemp(join(tmpdir(), 'fanwire-types-'));
  try {
    const file = join(place, 'program.ts');
    await writeFile(file, PROGRAM);
    const options = {
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.ES2022,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
      types: [],
      paths: { fanwire: [fileURLToPath(new URL('fanwire.d.ts', folder))] },
    };
    const told = ts.getPreEmitDiagnostics(ts.createProgram([file], options));
    assert.deepEqual(told.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')), []);
  } finally {
    await rm(place, { recursive: true });
  }
});
