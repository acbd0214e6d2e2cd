// A room broadcaster on Bun's own server and its native topics: a room is a topic, `ws.subscribe`
// joins it and `server.publish` hands one encoded frame to every member inside the runtime.
//
// Bun runs JavaScript on one thread, and topics do not reach across processes, so this peer uses one
// core however many it is given. Takes its port from PORT.

type Request =
  | { type: "subscribe" | "unsubscribe"; room: string }
  | { type: "publish"; room: string; data: unknown };

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch(request, server) {
    if (server.upgrade(request)) return;
    return new Response("expected a WebSocket upgrade", { status: 426 });
  },
  websocket: {
    // Bun's default limit of 16 MiB for a member that does not read, but here it is cut off beyond
    // it; Bun would drop messages silently otherwise.
    closeOnBackpressureLimit: true,
    message(ws, text) {
      let request: Request;
      try {
        request = JSON.parse(text as string);
      } catch {
        return ws.close(1007, "not JSON");
      }
      const room = request.room;
      switch (request.type) {
        case "subscribe":
          ws.subscribe(room);
          ws.send(JSON.stringify({ type: "subscribed", room }));
          break;
        case "unsubscribe":
          ws.unsubscribe(room);
          ws.send(JSON.stringify({ type: "unsubscribed", room }));
          break;
        case "publish":
          server.publish(room, JSON.stringify({ type: "message", room, data: request.data }));
          break;
      }
    },
  },
});

console.log("listening");
