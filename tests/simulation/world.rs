//! One node, its clients and the network between them, on one thread, from one seed. Every call of a shard is told
//! to the model as it happens; what is then amiss is a panic, which the runner reports with the seed.

use super::client::{Client, Intent};
use super::mail::{Inbox, Parcel, Told};
use super::model::{self, Model, Moment, State};
use super::pipe::{Pipe, Wires};
use super::plan::Plan;
use super::random::Random;
use super::speech::Ask;
use super::trace::Trace;
use fanwire::config::Config;
use fanwire::hub::Hub;
use fanwire::metrics::{ShardLabels, ShardMetrics};
use fanwire::model::{CloseReason, ConnectionId, DialectId, DropReason, Refusal};
use fanwire::shard::{Handlers, Inspection, Mail, Message, Newcomer, Now, Parts, Request, Shard};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

/// Wall clock at the start, in Unix ms.
const EPOCH_MS: u64 = 1_700_000_000_000;

const LABELS: ShardLabels = ShardLabels {
    close_reasons: &CloseReason::LABELS,
    drop_reasons: &DropReason::LABELS,
    refusals: &Refusal::LABELS,
};

/// One shard with what its thread has.
pub struct Site {
    pub shard: Shard,
    pub metrics: Arc<ShardMetrics>,
    pub table: Vec<Option<usize>>,
    pub inbox: Inbox,
    pub config: Arc<Config>,
    pub draining: bool,
    /// When the configuration was last changed.
    pub configured_us: u64,
    /// Connections that live here.
    pub live: Vec<usize>,
    /// Frames, pings and bytes taken by transports that are closed.
    pub retired: (u64, u64, u64),
}

/// One who connects, and connects again.
pub struct Persona {
    pub connection: Option<usize>,
    pub ip: Option<IpAddr>,
}

/// What handlers of the embedding program answered.
type Responses = Arc<Mutex<Vec<(ConnectionId, Message)>>>;

pub struct World {
    pub random: Random,
    pub plan: Plan,
    pub hub: Arc<Hub>,
    pub sites: Vec<Site>,
    pub personas: Vec<Persona>,
    /// Clients, pipes, peers of the model and what was last seen of them: all by number of the connection.
    pub clients: Vec<Client>,
    pub pipes: Vec<Pipe>,
    pub seen: Vec<Option<Inspection>>,
    pub model: Model,
    pub trace: Arc<Mutex<Trace>>,
    pub now_us: u64,
    /// The wall clock's jumps, in ms.
    pub jump_ms: u64,
    pub sayings: u64,
    responses: Responses,
    /// Answers of handlers that must have come.
    echoes: Vec<(usize, String, Option<String>)>,
    /// Largest bounds that were ever in force.
    pub outbox_bytes_max: usize,
}

/// Why a shard was called: what may be the cause of a connection's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Receive,
    Mail,
    Disconnect(usize),
    EvictLargest,
    Writable,
    Lost(usize),
    Advance,
    Flush,
}

/// What a call has ended.
#[derive(Debug, Default)]
pub struct Ends {
    /// Connections that were open before; the reason where it can be seen.
    pub closed: Vec<(usize, Option<CloseReason>)>,
    /// Connections that the shard has forgotten.
    pub gone: Vec<usize>,
    /// Reasons counted and not yet explained.
    pub reasons: Vec<CloseReason>,
    /// Connections whose transport refused something.
    pub refused: Vec<usize>,
}

impl Ends {
    fn of(&self, connection: usize) -> Option<Option<CloseReason>> {
        self.closed.iter().find(|(closed, _)| *closed == connection).map(|(_, reason)| *reason)
    }

    /// Takes one that was counted.
    fn explain(&mut self, reason: CloseReason) -> bool {
        let at = self.reasons.iter().position(|counted| *counted == reason);
        at.map(|at| self.reasons.swap_remove(at)).is_some()
    }
}

impl World {
    pub fn new(seed: u64, trace: Arc<Mutex<Trace>>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let config = Arc::new(plan.config.clone());
        let hub = Arc::new(Hub::new(plan.shards, random.next()));
        let responses = Responses::default();
        let mut handlers = Handlers::default();
        handlers.set(
            "echo",
            Arc::new(|request| request.reply("echoed", &request.data().len()).expect("a number is JSON")),
        );
        let sites = (0..plan.shards)
            .map(|index| {
                let metrics = Arc::new(ShardMetrics::new(&LABELS));
                let responses = responses.clone();
                let shard = Shard::new(Parts {
                    index,
                    shards: plan.shards,
                    hub: hub.clone(),
                    config: config.clone(),
                    metrics: metrics.clone(),
                    handlers: handlers.clone(),
                    respond: Arc::new(move |to, message| responses.lock().unwrap().push((to, message))),
                    seed: random.next(),
                });
                Site {
                    shard,
                    metrics,
                    table: Vec::new(),
                    inbox: Inbox::new(plan.shards),
                    config: config.clone(),
                    draining: false,
                    configured_us: 0,
                    live: Vec::new(),
                    retired: (0, 0, 0),
                }
            })
            .collect();
        let personas = (0..plan.clients)
            .map(|index| Persona {
                connection: None,
                ip: (index % 5 != 4).then(|| IpAddr::from([10, 0, 0, (index % 3) as u8])),
            })
            .collect();
        Self {
            model: Model::new(plan.shards),
            outbox_bytes_max: plan.config.limits.outbox_bytes_max,
            random,
            plan,
            hub,
            sites,
            personas,
            clients: Vec::new(),
            pipes: Vec::new(),
            seen: Vec::new(),
            trace,
            now_us: 1_000,
            jump_ms: 0,
            sayings: 0,
            responses,
            echoes: Vec::new(),
        }
    }

    pub fn note(&self, text: &'static str, numbers: &[usize]) {
        self.trace.lock().unwrap().add(text, numbers);
    }

    pub fn pass(&mut self, us: u64) {
        self.now_us += us;
        self.trace.lock().unwrap().now_us = self.now_us;
    }

    pub fn now(&self) -> Now {
        Now { us: self.now_us, unix_ms: EPOCH_MS + self.jump_ms + self.now_us / 1000 }
    }

    pub fn moment(&self, site: usize) -> Moment {
        let now = self.now();
        Moment { now_us: now.us, unix_ms: now.unix_ms, config: self.sites[site].config.clone() }
    }

    /// Calls a shard, and finds out which connections that has ended. Those are in limbo until [`World::settle`].
    pub fn call<R>(
        &mut self,
        site: usize,
        act: impl FnOnce(&mut Shard, Now, &mut Wires<'_>) -> R,
    ) -> (R, Ends) {
        let now = self.now();
        let here = &mut self.sites[site];
        let counted: Vec<u64> = here.metrics.closes.iter().map(|(_, n)| n).collect();
        for &index in &here.live {
            let pipe = &mut self.pipes[index];
            pipe.before = pipe.progress;
        }
        let mut wrong = None;
        let mut wires =
            Wires { pipes: &mut self.pipes, table: &mut here.table, now_us: now.us, wrong: &mut wrong };
        let result = act(&mut here.shard, now, &mut wires);
        if let Some(wrong) = wrong {
            panic!("shard {site}: {wrong}");
        }
        let mut ends = Ends::default();
        for ((reason, before), (_, after)) in
            CloseReason::ALL.into_iter().zip(counted).zip(here.metrics.closes.iter())
        {
            ends.reasons.extend((before..after).map(|_| reason));
        }
        for &index in &here.live {
            let key = self.clients[index].key;
            let live = here.shard.key(key.slot) == Some(key);
            let seen = if live { here.shard.inspect(key.slot) } else { None };
            let open = self.model.peers[index].state == State::Open;
            match seen {
                None => {
                    ends.gone.push(index);
                    if open {
                        ends.closed.push((index, None));
                    }
                }
                Some(Inspection { closing: Some(reason), .. }) if open => {
                    ends.closed.push((index, Some(reason)));
                }
                Some(_) => {}
            }
            if self.pipes[index].progress.refusals > self.pipes[index].before.refusals {
                ends.refused.push(index);
            }
        }
        for (index, reason) in &ends.closed {
            let by_itself = !matches!(reason, None | Some(CloseReason::SlowConsumer));
            self.model.peers[*index].limbo = !by_itself;
        }
        (result, ends)
    }

    /// A client connects to a shard.
    pub fn connect(&mut self, persona: usize, site: usize) {
        let ip = self.personas[persona].ip;
        let limits = self.sites[site].config.limits.clone();
        let admitted =
            self.hub.admission.admit(ip, limits.connections_max, limits.connections_per_ip_max).is_ok();
        let (all, same) = self
            .model
            .admitted()
            .fold((0, 0), |(all, same), peer| (all + 1, same + u32::from(ip.is_some() && peer.ip == ip)));
        let full = limits.connections_max != 0 && all >= limits.connections_max;
        let ip_full =
            limits.connections_per_ip_max != 0 && ip.is_some() && same >= limits.connections_per_ip_max;
        assert_eq!(admitted, !full && !ip_full, "admission with {all} in all and {same} of {ip:?}");
        if !admitted {
            return self.note("client {} is turned away at shard {}", &[persona, site]);
        }
        let peer = ip.map(|ip| SocketAddr::new(ip, 40_000));
        let now = self.now();
        let here = &mut self.sites[site];
        let newcomer = Newcomer { peer, dialect: DialectId(0), echo: false };
        let key = here.shard.open(now, newcomer).expect("the shard has room");
        let index = self.clients.len();
        let slot = key.slot as usize;
        here.table.resize(here.table.len().max(slot + 1), None);
        assert_eq!(here.table[slot].replace(index), None, "slot {slot} was in use");
        here.live.push(index);
        let seen = here.shard.inspect(key.slot).expect("just opened");
        self.seen.push(None);
        self.pipes.push(Pipe::new(self.plan.capacity));
        self.clients.push(Client::new(site, key, self.random.percent(10)));
        let moment = self.moment(site);
        assert_eq!(self.model.open(site, ip, seen.id, &moment), index);
        self.personas[persona].connection = Some(index);
        self.note("client {} is connection {} on shard {}", &[persona, index, site]);
    }

    /// A shard reads some of what a client has sent, or the end.
    pub fn read(&mut self, index: usize) {
        let site = self.clients[index].site;
        let slot = self.clients[index].key.slot;
        let waiting = self.pipes[index].up.len();
        if waiting == 0 {
            return self.lose(index);
        }
        let all = self.random.percent(50);
        let mut len = if all { waiting } else { self.random.between(1, waiting) };
        if !self.plan.bursts {
            len = len.min(self.clients[index].to_next_mark());
        }
        let mut bytes: Vec<u8> = self.pipes[index].up.drain(..len).collect();
        let intents = self.clients[index].consume(len);
        self.note("shard {} reads {} bytes of connection {}", &[site, len, index]);
        let published = self.sites[site].metrics.publications.get();
        let (_, mut ends) = self.call(site, |shard, now, wires| shard.receive(now, slot, &mut bytes, wires));
        let published = self.sites[site].metrics.publications.get() - published;
        self.hear(index, intents, published, &mut ends);
        self.settle(site, ends, Cause::Receive);
    }

    /// Tells the model what a shard has read, of which `published` were publications.
    fn hear(&mut self, index: usize, intents: Vec<Intent>, published: u64, ends: &mut Ends) {
        let site = self.clients[index].site;
        let at = self.moment(site);
        let end = ends.of(index);
        let evicted = match end {
            Some(None) => ends.reasons.contains(&CloseReason::SlowConsumer),
            end => end == Some(Some(CloseReason::SlowConsumer)),
        };
        let mut left = published;
        self.model.peers[index].received_us = at.now_us;
        let done = intents.iter().any(Intent::is_last);
        let mut intents = intents.into_iter();
        while let Some(intent) = intents.next() {
            let errors = !matches!(intent, Intent::Wrong(CloseReason::Unsupported, _));
            let done = intent.is_last();
            let peer = &mut self.model.peers[index];
            if peer.state != State::Open {
                continue;
            }
            let (reason, code) = match intent {
                Intent::Pong => continue,
                Intent::Ping(payload) => {
                    self.model.pong(index, payload);
                    continue;
                }
                Intent::Request(request) => {
                    let publishes = match request.ask {
                        Ask::Say { room, .. } => peer.rooms.contains(&room),
                        Ask::Shout { .. } => at.config.client_broadcast,
                        _ => false,
                    };
                    if publishes && left == 0 && evicted {
                        // Unless it was over its rate, and refused for that.
                        let rest = 1 + intents.len() as u64;
                        self.model.tallies[site].refusals.add(rest, false);
                        self.model.tallies[site].rate_limited.add(rest, false);
                        self.model.tallies[site].owed.add(rest, false);
                        break;
                    }
                    let before = self.model.tallies[site].publications;
                    let limited = self.model.tallies[site].rate_limited.high;
                    let end = self.model.hear(index, &request, &at);
                    left = left.wrapping_sub(self.model.tallies[site].publications - before);
                    if let Ask::Echo { data } = &request.ask
                        && self.model.tallies[site].rate_limited.high == limited
                    {
                        let length = data.as_ref().map_or(4, String::len);
                        self.echoes.push((index, length.to_string(), request.id.clone()));
                    }
                    let Some(reason) = end else { continue };
                    (reason, model::code(reason))
                }
                Intent::Close(code) => (CloseReason::PeerClosed, code.unwrap_or(1000)),
                Intent::Wrong(reason, _) => (reason, model::code(reason)),
            };
            if evicted && !ends.reasons.contains(&reason) {
                break;
            }
            assert!(
                ends.explain(reason) && end.is_some_and(|end| end.is_none_or(|end| end == reason)),
                "connection {index} must be closed for {reason:?}, but is {end:?}"
            );
            let counted = errors && !matches!(reason, CloseReason::PeerClosed | CloseReason::RateLimited);
            self.model.tallies[site].protocol_errors.add(u64::from(counted), true);
            self.model.close(index, reason, code, &at);
            self.model.peers[index].peer_done = done;
        }
        assert!(
            left == 0 || evicted && left < published,
            "{left} of {published} publications are unexplained"
        );
        if let (State::Open, Some(Some(reason)), Some(wrong)) =
            (self.model.peers[index].state, end, self.clients[index].wrong_under_way())
            && reason == wrong
            && ends.explain(reason)
        {
            let counted = reason != CloseReason::Unsupported;
            self.model.tallies[site].protocol_errors.add(u64::from(counted), true);
            self.model.close(index, reason, model::code(reason), &at);
        }
        // What comes behind the end of a connection is not looked at; but its close frame counts.
        self.model.peers[index].peer_done |= done;
        self.take_echoes(evicted);
    }

    /// Mails what handlers have answered, if it is what they must.
    fn take_echoes(&mut self, evicted: bool) {
        let responses = std::mem::take(&mut *self.responses.lock().unwrap());
        let expected = std::mem::take(&mut self.echoes);
        assert!(
            responses.len() == expected.len() || evicted && responses.len() < expected.len(),
            "{} answers of handlers instead of {}",
            responses.len(),
            expected.len()
        );
        for ((to, message), (index, data, id)) in responses.into_iter().zip(expected) {
            let Message::Event { event, data: said, id: echoed } = &message else { panic!("an error") };
            assert_eq!((event.as_str(), said.as_ref(), echoed), ("echoed", Some(&data), &id));
            assert_eq!(to, self.model.peers[index].id);
            self.post_send(index, "echoed", Some(data), id, message);
        }
    }

    /// Posts a message of the embedding program to a connection.
    pub fn post_send(
        &mut self,
        index: usize,
        event: &'static str,
        data: Option<String>,
        id: Option<String>,
        message: Message,
    ) {
        let site = self.clients[index].site;
        let inbox = &mut self.sites[site].inbox;
        let reply = inbox.reply();
        let to = self.model.peers[index].id;
        let told = Told::Send { connection: index, event, data, id };
        let mail = Mail::Request(Request::Send { to, message, reply });
        inbox.push(self.plan.shards, Parcel { mail, told, bytes: 0 });
    }

    /// A shard learns that a transport has ended.
    fn lose(&mut self, index: usize) {
        let site = self.clients[index].site;
        let slot = self.clients[index].key.slot;
        self.note("shard {} loses connection {}", &[site, index]);
        let (_, ends) = self.call(site, |shard, _, wires| shard.lost(slot, wires));
        assert!(ends.gone.contains(&index), "a lost connection is still there");
        self.settle(site, ends, Cause::Lost(index));
    }
}
