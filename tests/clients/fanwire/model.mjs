// A server as far as a client sees it, for random walks: rooms that keep the last few publications, members, replays as
// part of the answer, answers that overtake publications, gaps of slow readers, restarts.

export class ModelServer {
  rooms = new Map();
  links = new Map(); // by socket
  generation = 0;
  connections = 0;

  constructor(random, kept) {
    Object.assign(this, { random, kept });
  }

  room(name) {
    let room = this.rooms.get(name);
    if (!room) this.rooms.set(name, (room = { name, epoch: `e${this.generation}-${name}`, offset: 0, history: [] }));
    return room;
  }

  accept(socket) {
    const link = { socket, answers: [], publications: [], memberships: new Map() };
    this.links.set(socket, link);
    socket.open();
    link.answers.push({ type: 'connected', data: { client_id: `c${++this.connections}` }, timestamp: 1 });
  }

  // Nothing more comes of a connection.
  forget(socket) {
    this.links.delete(socket);
  }

  restart() {
    this.generation++;
    this.rooms.clear();
  }

  publish(name) {
    const room = this.room(name);
    room.offset++;
    const { epoch, offset } = room;
    const message = { type: 'message', room: name, data: { epoch, offset }, client_id: 'p', offset, timestamp: offset };
    room.history.push(message);
    while (room.history.length > this.kept) room.history.shift();
    for (const link of this.links.values()) {
      if (link.memberships.has(name)) link.publications.push(message);
    }
  }

  // What a client may ask a backend for: where the room stands.
  position(name) {
    const { epoch, offset } = this.room(name);
    return { epoch, offset };
  }

  hear(socket, { type, room: name, id, recover }) {
    const link = this.links.get(socket);
    if (!link) return;
    if (type === 'ping') link.answers.push({ type: 'pong', timestamp: 1 });
    if (type === 'unsubscribe') {
      link.memberships.delete(name);
      link.answers.push({ type: 'unsubscribed', room: name, data: { room: name }, id, timestamp: 1 });
    }
    if (type !== 'subscribe') return;
    if (this.random() < 0.05) {
      link.answers.push({ type: 'error', error: 'the server holds too many rooms: try again later', id, timestamp: 1 });
      return;
    }
    const room = this.room(name);
    const wasMember = link.memberships.has(name);
    const missed = recover && recover.epoch === room.epoch && recover.offset <= room.offset
      && room.offset - recover.offset <= room.history.length
      ? room.history.slice(room.history.length - (room.offset - recover.offset)) : null;
    const data = { room: name, client_count: 1, epoch: room.epoch, offset: room.offset };
    if (recover) data.recovered = missed !== null;
    const answer = { type: 'subscribed', room: name, data, id, timestamp: 1 };
    link.memberships.set(name, true);
    // To a member all that waits of the room comes first.
    (wasMember ? link.publications : link.answers).push(answer);
    if (missed?.length) link.replays = true;
    for (const message of missed ?? []) (wasMember ? link.publications : link.answers).push({ ...message });
  }

  // A slow reader loses the oldest that waits of a room, but nothing of a replay or before an answer, and is told.
  lose(socket, name) {
    const link = this.links.get(socket);
    if (!link) return;
    const { publications } = link;
    const last = publications.findLastIndex((message) => message.type !== 'message' || this.isReplay(link, message, name));
    const at = publications.findIndex((message, index) => index > last && message.type === 'message' && message.room === name);
    if (at < 0) return;
    const { length } = publications;
    let lost = 0;
    const most = 1 + Math.floor(this.random() * 3);
    for (let i = at; i < publications.length && lost < most; ) {
      if (publications[i].room === name) publications.splice(i, 1), lost++;
      else i++;
    }
    if (lost) publications.splice(at, 0, { type: 'gap', room: name, data: { lost }, timestamp: 1 });
    return length - lost;
  }

  // A copy is one that was told again.
  isReplay(link, message) {
    return message.type === 'message' && !this.room(message.room).history.includes(message);
  }

  // Hands one waiting message over. Answers do not wait behind publications.
  deliver(socket) {
    const link = this.links.get(socket);
    const message = link?.answers.shift() ?? link?.publications.shift();
    if (message) socket.say(this.random() < 0.2 ? [message] : message);
    return !!message;
  }
}
