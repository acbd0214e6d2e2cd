// A room broadcaster on `ws`, the usual WebSocket library of Node.js: a Map from a room's name to the
// set of its members, and a loop that sends to each.
//
// Node.js runs JavaScript on one thread, so this peer uses one core however many it is given. Takes
// its port from PORT.

import { createRequire } from "node:module";

// The packages live in node/, so that this file can stand beside the other peers.
const { WebSocket, WebSocketServer } = createRequire(new URL("node/", import.meta.url))("ws");

// A member that has not read this many bytes is cut off: the same limit as in bun.ts.
const BACKLOG_BYTES = 16 << 20;

/** @type {Map<string, Set<WebSocket>>} */
const rooms = new Map();

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.env.PORT) });

server.on("connection", (socket) => {
  const joined = new Set();

  socket.on("message", (text) => {
    let request;
    try {
      request = JSON.parse(text);
    } catch {
      return socket.close(1007, "not JSON");
    }
    const { type, room } = request;
    switch (type) {
      case "subscribe":
        joined.add(room);
        join(room, socket);
        socket.send(JSON.stringify({ type: "subscribed", room }));
        break;
      case "unsubscribe":
        joined.delete(room);
        leave(room, socket);
        socket.send(JSON.stringify({ type: "unsubscribed", room }));
        break;
      case "publish":
        publish(room, request.data);
        break;
    }
  });
  socket.on("close", () => joined.forEach((room) => leave(room, socket)));
  // "close" follows; without a listener an error would end the process.
  socket.on("error", () => {});
});

server.on("listening", () => console.log("listening"));

function join(room, socket) {
  const members = rooms.get(room);
  if (members) members.add(socket);
  else rooms.set(room, new Set([socket]));
}

function leave(room, socket) {
  const members = rooms.get(room);
  if (members?.delete(socket) && members.size === 0) rooms.delete(room);
}

function publish(room, data) {
  // A buffer is encoded once; a string would be encoded again for every member.
  const message = Buffer.from(JSON.stringify({ type: "message", room, data }));
  for (const member of rooms.get(room) ?? []) {
    if (member.readyState !== WebSocket.OPEN) continue;
    if (member.bufferedAmount > BACKLOG_BYTES) member.terminate();
    else member.send(message, { binary: false });
  }
}
