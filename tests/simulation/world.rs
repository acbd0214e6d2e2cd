//! One node, its clients and the network between them, on one thread, from one seed. Every call of a shard is told
//! to the model as it happens; what is then amiss is a panic, which the runner reports with the seed.

use super::accounts::Tenants;
use super::client::Client;
use super::mail::Inbox;
use super::model::{Kind, Model, Moment};
use super::peer::State;
use super::pipe::{Pipe, Wires};
use super::plan::Plan;
use super::random::Random;
use super::trace::Trace;
use super::{accounts, rules, sixth, speech, told};
use fanwire::config::Config;
use fanwire::hub::Hub;
use fanwire::metrics::ShardMetrics;
use fanwire::model::{CloseReason, Compression, ConnectionId, DialectId};
use fanwire::shard::{Handlers, Inspection, LABELS, Mail, Message, Newcomer, Now, Parts, Shard, StepLimits};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Wall clock at the start, in Unix ms.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// How long after a sleep what is read may have come during it.
const UNSEEN_US: u64 = 10_000_000;

/// A drain under way.
pub struct Drain {
    pub began_us: u64,
    pub over: Duration,
    /// Connections to close, newcomers among them.
    pub all: usize,
    pub closed: usize,
}

impl Drain {
    /// How many may be closed by a time: as much of all as of three quarters of the time is over, and one for each 50 ms.
    pub fn due(&self, now_us: u64) -> usize {
        let step = (now_us / 1000 - self.began_us / 1000) / 50 + 1;
        let steps = self.over.as_millis() as u64 * 3 / 4 / 50;
        if step >= steps { self.all } else { (self.all * step as usize / steps as usize).max(step as usize) }
    }
}

/// One shard with what its thread has.
pub struct Site {
    pub shard: Shard,
    pub metrics: Arc<ShardMetrics>,
    pub table: Vec<Option<usize>>,
    pub inbox: Inbox,
    pub config: Arc<Config>,
    pub draining: bool,
    /// How far the drain is.
    pub drain: Option<Drain>,
    /// When the configuration was last changed.
    pub configured_us: u64,
    /// Until when its thread does not run, and since when.
    pub asleep_until: Option<u64>,
    pub asleep_since: u64,
    /// When silence counts anew after a long sleep, and what then may have come unseen since when.
    pub awake_us: u64,
    pub unseen_from_us: u64,
    /// Answers about publications that may come later, as a room is behind.
    pub owed_answers: Vec<u64>,
    /// Connections that live here.
    pub live: Vec<usize>,
    /// Frames, pings and bytes taken by transports that are closed.
    pub retired: (u64, u64, u64),
}

/// One who connects, and connects again.
pub struct Persona {
    pub connection: Option<usize>,
    /// Epoch and offset of what it last heard of each room, by room.
    pub past: Vec<Option<(String, u64)>>,
    pub ip: Option<IpAddr>,
}

/// Mail that goes out at once.
pub type Posts = Arc<Mutex<VecDeque<(usize, Mail)>>>;

/// What handlers of the embedding program answered.
pub type Responses = Arc<Mutex<Vec<(ConnectionId, Message)>>>;

pub struct World {
    pub random: Random,
    pub plan: Plan,
    pub hub: Arc<Hub>,
    pub tenants: Tenants,
    pub sites: Vec<Site>,
    pub personas: Vec<Persona>,
    /// Clients, pipes, peers of the model and what was last seen of them: all by number of the connection.
    pub clients: Vec<Client>,
    pub pipes: Vec<Pipe>,
    pub seen: Vec<Option<Inspection>>,
    pub model: Model,
    pub told: Arc<told::Ends>,
    pub trace: Arc<Mutex<Trace>>,
    pub now_us: u64,
    /// The wall clock's jumps, in ms.
    pub jump_ms: u64,
    pub sayings: u64,
    pub responses: Responses,
    pub posts: Posts,
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
    /// Those of connections that are still there to show them.
    pub shown: Vec<CloseReason>,
    /// Connections whose transport refused something.
    pub refused: Vec<usize>,
}

impl Ends {
    pub fn of(&self, connection: usize) -> Option<Option<CloseReason>> {
        self.closed.iter().find(|(closed, _)| *closed == connection).map(|(_, reason)| *reason)
    }

    /// Connections seen to be closed for a reason.
    pub fn count(&self, reason: CloseReason) -> usize {
        self.closed.iter().filter(|(_, seen)| *seen == Some(reason)).count()
    }

    /// Whether a connection that is gone at once may have been ended for a reason.
    pub fn hides(&self, reason: CloseReason) -> bool {
        let count = |of: &[CloseReason]| of.iter().filter(|it| **it == reason).count();
        count(&self.reasons) > count(&self.shown)
    }

    /// Takes out what was ended for some reasons.
    pub fn split_off(&mut self, is_of: impl Fn(usize, CloseReason) -> bool) -> Self {
        let mut reasons = Vec::new();
        let mut closed = Vec::new();
        for (index, reason) in std::mem::take(&mut self.closed) {
            // The reason of one that is gone at once cannot be seen, but what is counted beyond those that are.
            let hidden = |it: &&CloseReason| is_of(index, **it) && self.hides(**it);
            let seen = reason.or_else(|| self.reasons.iter().find(hidden).copied());
            match seen.filter(|reason| is_of(index, *reason)) {
                Some(reason) => {
                    let at = self.reasons.iter().position(|counted| *counted == reason);
                    reasons.extend(at.map(|at| self.reasons.swap_remove(at)));
                    closed.push((index, Some(reason)));
                }
                None => self.closed.push((index, reason)),
            }
        }
        let of_closed = |list: &mut Vec<usize>| -> Vec<usize> {
            list.extract_if(.., |it| closed.iter().any(|(index, _)| index == it)).collect()
        };
        let (gone, refused) = (of_closed(&mut self.gone), of_closed(&mut self.refused));
        Self { closed, gone, reasons, refused, shown: Vec::new() }
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
        let mut plan = Plan::new(&mut random);
        accounts::limit(&mut plan);
        let config = Arc::new(plan.config.clone());
        let hub = Arc::new(Hub::new(plan.shards, random.next().into(), &rules::rules(&plan.policies)));
        hub.directory.set_history_bytes_max(config.limits.history_bytes_max, 0);
        let posts = Posts::default();
        let responses = Responses::default();
        let mut handlers = Handlers::default();
        let told = Arc::new(told::Ends::default());
        handlers.set_decider(told.clone());
        handlers.set(
            "echo",
            Arc::new(|request| request.reply("echoed", &request.data().len()).expect("a number is JSON")),
        );
        let sites = (0..plan.shards)
            .map(|index| {
                let metrics = Arc::new(ShardMetrics::new(&LABELS));
                let responses = responses.clone();
                let posts = posts.clone();
                let seed = random.next().to_le_bytes();
                let mut shard = Shard::new(Parts {
                    index,
                    shards: plan.shards,
                    hub: hub.clone(),
                    config: config.clone(),
                    metrics: metrics.clone(),
                    handlers: handlers.clone(),
                    respond: Arc::new(move |to, message| responses.lock().unwrap().push((to, message))),
                    post: Arc::new(move |to, mail| posts.lock().unwrap().push_back((to, mail))),
                    seed: std::array::from_fn(|index| seed[index % seed.len()]),
                });
                let (turn_writes, input_max) = (plan.turn_writes, plan.input_max);
                shard.set_step_limits(StepLimits { turn_writes, input_max, ..plan.wide.unwrap_or_default() });
                Site {
                    shard,
                    metrics,
                    table: Vec::new(),
                    inbox: Inbox::new(plan.shards),
                    config: config.clone(),
                    draining: false,
                    drain: None,
                    configured_us: 0,
                    asleep_until: None,
                    asleep_since: 0,
                    awake_us: 0,
                    unseen_from_us: 0,
                    owed_answers: Vec::new(),
                    live: Vec::new(),
                    retired: (0, 0, 0),
                }
            })
            .collect();
        let personas = (0..plan.clients)
            .map(|index| Persona {
                connection: None,
                past: vec![None; speech::ROOMS.len()],
                ip: (index % 5 != 4).then(|| IpAddr::from([10, 0, 0, (index % 3) as u8])),
            })
            .collect();
        let kind = Kind {
            hub: hub.clone(),
            policies: plan.policies.clone(),
            streams: plan.streams,
            compresses: plan.deflate_percent > 0 || plan.sixth,
            wide: plan.wide.is_some(),
        };
        Self {
            model: Model::new(plan.shards, kind),
            told,
            outbox_bytes_max: plan.config.limits.outbox_bytes_max,
            random,
            tenants: Tenants::new(&plan, &hub),
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
            posts,
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
        let here = &self.sites[site];
        let unseen = here.awake_us != 0 && now.us < here.awake_us + UNSEEN_US;
        let since_us = if unseen { here.unseen_from_us } else { now.us };
        Moment { now_us: now.us, unix_ms: now.unix_ms, config: here.config.clone(), since_us }
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
            CloseReason::ALL.iter().copied().zip(counted).zip(here.metrics.closes.iter())
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
        ends.shown = ends.closed.iter().filter_map(|(_, reason)| *reason).collect();
        for (index, reason) in &ends.closed {
            let by_itself =
                !matches!(reason, None | Some(CloseReason::SlowConsumer | CloseReason::InputsFull));
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
        let compression = match self.random.percent(self.plan.deflate_percent) {
            true => self.random.pick(&Compression::ALL[1..]),
            false => Compression::None,
        };
        let echo = self.random.percent(self.plan.echo_percent);
        let is_sixth = self.plan.sixth && !echo && self.clients.len() % 2 == 1;
        let dialect = if is_sixth { sixth::register() } else { DialectId::NATIVE };
        let hears_itself = self.plan.config.deliver_to_sender;
        let holding = self.tenants.holding(&self.hub, self.clients.len());
        let tenant = self.tenants.tenant(&self.plan, self.clients.len());
        let identity = tenant.map(|number| Arc::new(accounts::identity(number)));
        let newcomer = Newcomer {
            peer,
            dialect,
            compression,
            identity,
            echo,
            hears_itself,
            holding,
            ..Newcomer::default()
        };
        let key = here.shard.open(now, newcomer.clone()).expect("the shard has room");
        here.drain.iter_mut().for_each(|drain| drain.all += 1);
        let index = self.clients.len();
        let slot = key.slot as usize;
        here.table.resize(here.table.len().max(slot + 1), None);
        assert_eq!(here.table[slot].replace(index), None, "slot {slot} was in use");
        here.live.push(index);
        let seen = here.shard.inspect(key.slot).expect("just opened");
        self.seen.push(None);
        self.pipes.push(Pipe::new(self.plan.capacity, is_sixth));
        self.clients.push(Client::new(site, key, persona, &newcomer, self.random.percent(10)));
        let moment = self.moment(site);
        assert_eq!(self.model.open(&self.clients[index], ip, seen.id, tenant, &moment), index);
        self.personas[persona].connection = Some(index);
        self.note("client {} is connection {} on shard {}", &[persona, index, site]);
    }
}
