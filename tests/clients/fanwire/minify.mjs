// Makes src/client/fanwire.min.js of fanwire.js: `node tests/clients/fanwire/minify.mjs`, after `npm ci` in tests/clients.
// What is served is what this makes; a test makes it again and compares.
import { readFile, writeFile } from 'node:fs/promises';

const file = (name) => new URL(`../../../src/client/${name}`, import.meta.url);

export const source = () => readFile(file('fanwire.js'), 'utf8');
export const shipped = () => readFile(file('fanwire.min.js'), 'utf8');

export async function minified() {
  const { minify } = await import('terser');
  const compress = { ecma: 2020, passes: 3, unsafe_arrows: true };
  // Names with an underscore are for nobody outside.
  const mangle = { properties: { regex: /^_/ } };
  const { code } = await minify(await source(), { module: true, ecma: 2020, compress, mangle });
  return `${code}\n`;
}

if (process.argv[1]?.endsWith('minify.mjs')) await writeFile(file('fanwire.min.js'), await minified());
