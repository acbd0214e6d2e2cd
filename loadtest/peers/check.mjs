// Checks that every peer in peers.json carries messages, with the client of the npm package `ws`.
//
//     node check.mjs [NAME...]
//
// For each peer, or each named one: starts it on a free port, joins rooms, publishes, asserts who got
// what, and stops it by its process id. Prints one line for each failure and `N passed, N failed`;
// ends with 1 when something failed.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const { WebSocket } = createRequire(new URL("node/", import.meta.url))("ws");

const HERE = fileURLToPath(new URL(".", import.meta.url));
// Longest wait for anything that must come.
const PATIENCE_MS = 10_000;
// Time in which something would come that must not.
const QUIET_MS = 300;
// Messages of the burst; fewer than any peer lets a member be behind.
const BURST = 100;

let passed = 0;
let failed = 0;

function check(name, what, holds) {
  if (holds) passed += 1;
  else {
    failed += 1;
    console.log(`FAIL ${name}: ${what}`);
  }
}

async function until(holds) {
  const end = Date.now() + PATIENCE_MS;
  while (!holds() && Date.now() < end) await sleep(5);
  return holds();
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

const fill = (template, values) =>
  template.replace(/\{(port|room|payload_bytes|payload)\}/g, (_, name) => values[name]);

const absolute = (program) => (program.includes("/") ? HERE + program : program);

/** The versions of what runs, on one line. */
function versions(peer) {
  if (!peer.version_command) return peer.version;
  const [program, ...args] = peer.version_command;
  const { stdout } = spawnSync(absolute(program), args, { cwd: HERE, encoding: "utf8" });
  return [peer.version, ...(stdout ?? "").trim().split("\n")].join(", ").replaceAll("\t", " ");
}

/** One connection to a peer, in one room. */
class Member {
  constructor(peer, port, room) {
    this.peer = peer;
    this.room = room;
    this.text = "";
    this.frames = 0;
    const headers = Object.fromEntries(peer.headers.map((header) => header.split(/:\s*/, 2)));
    this.socket = new WebSocket(fill(peer.url, { port, room }), { headers });
    this.socket.on("message", (data) => this.#receive(String(data)));
    this.socket.on("error", (error) => console.log(`${peer.name}: ${error.message}`));
  }

  #receive(frame) {
    this.frames += 1;
    this.text += frame + "\n";
    const keepalive = this.peer.keepalive;
    if (!keepalive) return;
    const { match, where, answer } = keepalive;
    const asked = where === "line" ? `\n${frame}`.includes(`\n${match}`) : frame === match;
    if (asked) this.socket.send(answer);
  }

  async join() {
    const { join, join_after, joined_marker } = this.peer;
    if (!(await until(() => this.socket.readyState === WebSocket.OPEN))) return false;
    for (const [index, frame] of join.entries()) {
      if (join_after && !(await until(() => this.has(join_after[index])))) return false;
      this.socket.send(fill(frame, { room: this.room }));
    }
    if (joined_marker) return until(() => this.has(joined_marker));
    await sleep(QUIET_MS);
    return true;
  }

  async leave() {
    const { leave, left_marker } = this.peer;
    this.text = "";
    this.socket.send(fill(leave, { room: this.room }));
    return until(() => this.has(left_marker));
  }

  publish(payload) {
    const values = { room: this.room, payload, payload_bytes: Buffer.byteLength(payload) };
    this.socket.send(fill(this.peer.publish, values));
  }

  has(text) {
    return this.text.includes(text);
  }
}

const payload = (word) => JSON.stringify({ fw: `fw!p=${word};é"\\` });

/** The numbers of the burst's messages in `text`, in the order of their arrival. */
const burst = (text) => [...text.matchAll(/fw!p=n(\d+);/g)].map((found) => Number(found[1]));

async function converse(peer, port) {
  const { name } = peer;
  const members = ["a", "a", "a", "b"].map((room) => new Member(peer, port, room));
  const [first, second, third, other] = members;
  try {
    for (const member of members) check(name, "joins", await member.join());

    const quietFrames = members.map((member) => member.frames);
    first.publish(payload("one"));
    for (const member of [first, second, third]) {
      check(name, "a member gets the message", await until(() => member.has(payload("one"))));
    }
    await sleep(QUIET_MS);
    check(name, "another room does not get it", !other.has("fw!p=one"));
    const frames = members.map((member, index) => member.frames - quietFrames[index]);
    check(name, `one frame for each member, not ${frames}`, String(frames) === "1,1,1,0");

    for (let number = 0; number < BURST; number += 1) second.publish(payload(`n${number}`));
    for (const member of [first, second, third]) {
      const whole = await until(() => burst(member.text).length >= BURST);
      check(name, `a member gets a burst, not ${burst(member.text).length}`, whole);
      const sorted = burst(member.text).sort((a, b) => a - b);
      check(name, "each message once", sorted.every((number, index) => number === index));
      const inOrder = String(burst(member.text)) === String(sorted);
      if (peer.ordered) check(name, "in order", inOrder);
    }

    if (peer.leave) {
      check(name, "leaves", await third.leave());
      first.publish(payload("two"));
      check(name, "who stayed gets the next", await until(() => second.has(payload("two"))));
      await sleep(QUIET_MS);
      check(name, "who left does not", !third.has("fw!p=two"));
    }
    const open = members.every((member) => member.socket.readyState === WebSocket.OPEN);
    check(name, "nobody was cut off", open);
  } finally {
    members.forEach((member) => member.socket.terminate());
  }
}

async function run(peer) {
  const port = await freePort();
  const env = Object.entries(peer.env).map(([key, value]) => [key, fill(value, { port })]);
  const [program, ...args] = peer.command;
  const child = spawn(absolute(program), args, {
    cwd: HERE,
    env: { ...process.env, ...Object.fromEntries(env) },
  });
  const output = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"]) {
    child[stream].on("data", (text) => (output[stream] += text));
  }
  let ended = null;
  child.on("error", (error) => (ended = error.message));
  child.on("exit", (code, signal) => (ended = `ended with ${signal ?? code}`));

  const isReady = () => output[peer.ready.stream].includes(peer.ready.text);
  await until(() => isReady() || ended);
  if (isReady()) {
    check(peer.name, "starts", true);
    await converse(peer, port);
    check(peer.name, `is still there, not ${ended}`, ended === null);
  } else {
    check(peer.name, `starts, not ${ended}\n${output.stderr}`, false);
  }
  if (ended === null) child.kill("SIGTERM");
  check(peer.name, "stops", await until(() => ended !== null));
}

const names = process.argv.slice(2);
const { peers } = JSON.parse(readFileSync(new URL("peers.json", import.meta.url)));
const chosen = peers.filter((peer) => names.length === 0 || names.includes(peer.name));
for (const name of names) {
  check(name, "is in peers.json", peers.some((peer) => peer.name === name));
}
for (const peer of chosen) {
  const before = failed;
  await run(peer);
  console.log(`${failed === before ? "ok  " : "FAIL"} ${peer.name} (${versions(peer)})`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
