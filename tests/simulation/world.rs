//! One node, its clients and the network between them, on one thread, from one seed. Every call of a shard is told
//! to the model as it happens; what is then amiss is a panic, which the runner reports with the seed.

use super::client::Client;
use super::mail::Inbox;
use super::model::{Model, Moment, State};
use super::pipe::{Pipe, Wires};
use super::plan::Plan;
use super::random::Random;
use super::trace::Trace;
use fanwire::config::Config;
use fanwire::hub::Hub;
use fanwire::metrics::ShardMetrics;
use fanwire::model::{CloseReason, ConnectionId};
use fanwire::shard::{Handlers, Inspection, LABELS, Message, Newcomer, Now, Parts, Shard};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

/// Wall clock at the start, in Unix ms.
const EPOCH_MS: u64 = 1_700_000_000_000;

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
pub type Responses = Arc<Mutex<Vec<(ConnectionId, Message)>>>;

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
    pub responses: Responses,
    /// Answers of handlers that must have come.
    pub echoes: Vec<(usize, String, Option<String>)>,
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
    pub fn of(&self, connection: usize) -> Option<Option<CloseReason>> {
        self.closed.iter().find(|(closed, _)| *closed == connection).map(|(_, reason)| *reason)
    }

    /// Takes one that was counted.
    pub fn explain(&mut self, reason: CloseReason) -> bool {
        let at = self.reasons.iter().position(|counted| *counted == reason);
        at.map(|at| self.reasons.swap_remove(at)).is_some()
    }
}

impl World {
    pub fn new(seed: u64, trace: Arc<Mutex<Trace>>) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(&mut random);
        let config = Arc::new(plan.config.clone());
        let hub = Arc::new(Hub::new(plan.shards, random.next(), &[]));
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
                    post: Arc::new(|_, _| unreachable!("no room remembers")),
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
        let newcomer = Newcomer { peer, ..Newcomer::default() };
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
}
