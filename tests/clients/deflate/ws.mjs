// npm's ws with compression: node ws.mjs URL DATA.json OPTIONS
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { once } from 'node:events';

const require = createRequire(new URL('../', import.meta.url));
const WebSocket = require('ws');
const [url, file, options] = process.argv.slice(2);

const socket = new WebSocket(url, { perMessageDeflate: JSON.parse(options) });
const received = [];
let wake = () => {};
socket.on('message', (text) => {
  received.push(JSON.parse(text));
  wake();
});
socket.on('error', (error) => {
  console.log(`failed: ${error}`);
  process.exit(1);
});

async function expect(type) {
  while (received.length === 0) await new Promise((resolve) => (wake = resolve));
  const message = received.shift();
  if (message.type !== type) throw new Error(`not ${type}: ${JSON.stringify(message)}`);
  return message;
}

await expect('connected');
if (!socket.extensions.includes('permessage-deflate')) throw new Error('no compression');
socket.send(JSON.stringify({ type: 'subscribe', room: 'deflate' }));
await expect('subscribed');
for (const data of JSON.parse(readFileSync(file))) {
  socket.send(JSON.stringify({ type: 'publish', room: 'deflate', data }));
  const message = await expect('message');
  if (message.data !== data) throw new Error(`${message.data} is not ${data}`);
}
socket.close(1000);
const [code] = await once(socket, 'close');
if (code !== 1000) throw new Error(`closed with ${code}`);
console.log('done');
