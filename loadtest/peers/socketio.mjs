// A room broadcaster on Socket.IO: its own rooms, its in-memory adapter, and the WebSocket transport
// of Engine.IO only (no long polling).
//
// Node.js runs JavaScript on one thread, so this peer uses one core however many it is given. Takes
// its port from PORT. The frames that a client without the library sends stand in peers.json.

import { createServer } from "node:http";
import { createRequire } from "node:module";

// The packages live in node/, so that this file can stand beside the other peers.
const { Server } = createRequire(new URL("node/", import.meta.url))("socket.io");

const http = createServer();
const io = new Server(http, { transports: ["websocket"], serveClient: false });

io.on("connection", (socket) => {
  socket.on("join", (room) => {
    socket.join(room);
    socket.emit("joined", room);
  });
  socket.on("leave", (room) => {
    socket.leave(room);
    socket.emit("left", room);
  });
  socket.on("publish", (room, data) => {
    io.to(room).emit("message", { room, data });
  });
});

http.listen(Number(process.env.PORT), "127.0.0.1", () => console.log("listening"));
