//! An agent for tests: the protocol and its rules, with SAs that are only remembered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crypto_offload::{
    Aead, Capabilities, Effective, Epoch, KeyingMaterial, PairName, Placement, SaPair, SaUsage,
    SecretKey, Spi,
};
use gateway_control::agent::{
    AGENT_VERSION, AgentError, AgentErrorCode, AgentHello, Request, Response,
};
use gateway_control::{
    EpochStatus, Event, EventKind, ForeignList, KeyOffer, PairList, PairStatus, PlanReport,
    SaStatus,
};
use ring::rand::{SecureRandom, SystemRandom};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

use super::connection::{Buffer, Connection, Message};

/// The agent's state, which outlives its runs.
#[derive(Clone)]
pub(crate) struct Model {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

/// One run of it; dropped, its connections break.
pub(crate) struct Run {
    _tasks: JoinSet<()>,
    path: PathBuf,
}

/// What a test wants to go wrong.
pub(crate) type Fault = Box<dyn FnMut(&Request) -> Option<Trouble> + Send>;

/// How.
pub(crate) enum Trouble {
    /// The agent says no.
    Refuse(AgentError),
    /// It never answers.
    Hang,
    /// It does what was asked and dies before it answers.
    Die,
    /// It dies before it does what was asked, and what it had is taken over by the next.
    Restart,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) pairs: BTreeMap<PairName, Pair>,
    /// Each request, by name, in the order in which they came.
    pub(crate) asked: Vec<String>,
    pub(crate) generation: u64,
    pub(crate) seen_generations: Vec<Option<u64>>,
    pub(crate) fault: Option<Fault>,
    events: Vec<Event>,
    next_spi: u32,
}

pub(crate) struct Pair {
    pub(crate) pair: SaPair,
    pub(crate) active: Option<Epoch>,
    pub(crate) highest: Epoch,
    pub(crate) epochs: BTreeMap<Epoch, Keys>,
    /// Counters of what was retired.
    retired: BTreeMap<(Epoch, &'static str), u64>,
}

#[derive(Default)]
pub(crate) struct Keys {
    pub(crate) inbound: Option<KeyOffer>,
    pub(crate) outbound: Option<KeyOffer>,
    /// As a test sets them.
    pub(crate) opened: u64,
    pub(crate) sealed: u64,
    pub(crate) age: Duration,
    pub(crate) resumed: bool,
}

impl Model {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = format!("postern-model-{}-{count}-{name}.sock", std::process::id());
        let state = State { next_spi: 0xc000_0000, ..State::default() };
        let path = std::env::temp_dir().join(file);
        Self { state: Arc::new(Mutex::new(state)), path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the state, or changes it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on, ask this before each request.
    pub(crate) fn fail(&self, fault: impl FnMut(&Request) -> Option<Trouble> + Send + 'static) {
        self.with(|state| state.fault = Some(Box::new(fault)));
    }

    pub(crate) fn event(&self, kind: EventKind, object: &str, reason: &str) {
        self.event_from(kind, object, "", reason);
    }

    pub(crate) fn event_from(&self, kind: EventKind, object: &str, from: &str, reason: &str) {
        self.with(|state| {
            let seq = state.events.len() as u64 + 1;
            let (from, to, owner) = (from.to_owned(), String::new(), "kernel".to_owned());
            let (object, reason) = (object.to_owned(), reason.to_owned());
            state.events.push(Event { seq, time: 0, kind, object, from, to, reason, owner });
        });
    }

    /// As after a restart of a user-space engine.
    pub(crate) fn take_over(&self) {
        self.with(|state| {
            let epochs = state.pairs.values_mut().flat_map(|pair| pair.epochs.values_mut());
            epochs.for_each(|keys| keys.resumed = true);
        });
    }

    /// Starts it (again).
    pub(crate) fn run(&self) -> Run {
        let _ = std::fs::remove_file(&self.path);
        let listener =
            Socket::new(Domain::UNIX, Type::SEQPACKET.nonblocking().cloexec(), None).unwrap();
        listener.bind(&SockAddr::unix(&self.path).unwrap()).unwrap();
        listener.listen(8).unwrap();
        self.with(|state| {
            state.generation += 1;
            state.events.clear();
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(self.clone().accept(crate::sys::watch(listener).unwrap()));
        Run { _tasks: tasks, path: self.path.clone() }
    }

    async fn accept(self, listener: AsyncFd<Socket>) {
        let mut connections = JoinSet::new();
        loop {
            let mut ready = listener.readable().await.unwrap();
            let Ok(accepted) = ready.try_io(|listener| listener.get_ref().accept()) else {
                continue;
            };
            let (socket, _) = accepted.unwrap();
            socket.set_nonblocking(true).unwrap();
            connections.spawn(self.clone().serve(Connection::of(socket).unwrap()));
        }
    }

    async fn serve(self, connection: Connection) {
        let mut buffer = Buffer::new();
        while let Ok(request) = connection.receive::<Request>(&mut buffer).await {
            if let Request::Events { after, wait_ms } = request {
                let events = self.events(after, wait_ms).await;
                let message = Message::new(&Response::Events { events }).unwrap();
                if connection.send(&message).await.is_err() {
                    return;
                }
                continue;
            }
            let trouble = self.with(|state| state.fault.as_mut().and_then(|fault| fault(&request)));
            let response = match trouble {
                None => self.with(|state| state.answer(request)),
                Some(Trouble::Refuse(error)) => Response::Refused(error),
                Some(Trouble::Hang) => std::future::pending().await,
                Some(Trouble::Die) => {
                    self.with(|state| state.answer(request));
                    return;
                }
                Some(Trouble::Restart) => return self.take_over(),
            };
            if connection.send(&Message::new(&response).unwrap()).await.is_err() {
                return;
            }
        }
    }

    async fn events(&self, after: u64, wait_ms: u64) -> Vec<Event> {
        let newer = || self.with(|state| state.events.get(after as usize..).map(<[_]>::to_vec));
        let deadline = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
        loop {
            let events = newer().unwrap_or_default();
            if !events.is_empty() || tokio::time::Instant::now() >= deadline {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(crate) fn refusal(code: AgentErrorCode, place: &str) -> AgentError {
    let message = format!("cannot: {code:?} of {place}");
    AgentError { code, message, place: place.to_owned(), hint: None }
}

impl State {
    fn answer(&mut self, request: Request) -> Response {
        self.asked.push(spoken(&request));
        self.try_answer(request).unwrap_or_else(Response::Refused)
    }

    fn pair(&mut self, name: &PairName) -> Result<&mut Pair, AgentError> {
        self.pairs.get_mut(name).ok_or_else(|| refusal(AgentErrorCode::UnknownPair, name.as_str()))
    }

    fn try_answer(&mut self, request: Request) -> Result<Response, AgentError> {
        match request {
            Request::Hello { seen_generation, .. } => {
                self.seen_generations.push(seen_generation);
                Ok(Response::Hello(AgentHello {
                    version: AGENT_VERSION,
                    release: "model".to_owned(),
                    pid: self.generation as u32,
                    generation: self.generation,
                    engines: vec!["user-space".to_owned()],
                    distrusted: None,
                }))
            }
            Request::Probe | Request::Capabilities => {
                let engines = vec![("user-space".to_owned(), Capabilities::default())];
                Ok(Response::Capabilities { engines })
            }
            Request::Plan { pair } => {
                let (steps, refused) = (Vec::new(), Vec::new());
                Ok(Response::Plan(PlanReport { name: pair.name, steps, refused }))
            }
            Request::Define { pair } => Ok(Response::Pair(Box::new(self.define(*pair).status()))),
            Request::Undefine { name } => {
                self.pairs.remove(&name);
                Ok(Response::Done)
            }
            Request::Show { name } => Ok(Response::Pair(Box::new(self.pair(&name)?.status()))),
            Request::List { after, limit } => Ok(Response::Pairs(self.list(after.as_ref(), limit))),
            Request::Prepare { name, epoch, given } => self.prepare(&name, epoch, given),
            Request::Foreign { .. } => {
                Ok(Response::Foreign(ForeignList { sas: Vec::new(), more: false }))
            }
            Request::Statistics => {
                let counters = vec![("user-space".to_owned(), "replayed".to_owned(), 0)];
                Ok(Response::Statistics { counters })
            }
            Request::Events { .. } => Ok(Response::Events { events: Vec::new() }),
            Request::InstallOutbound { name, epoch, offer } => {
                let keys = self.pair(&name)?.keys(epoch)?;
                keys.outbound.get_or_insert(offer);
                Ok(Response::Installed { placement: placement() })
            }
            Request::Switch { name, epoch } => {
                let pair = self.pair(&name)?;
                if pair.keys(epoch)?.outbound.is_none() {
                    return Err(refusal(AgentErrorCode::InUse, name.as_str()));
                }
                pair.active = Some(epoch);
                Ok(Response::Done)
            }
            Request::RetireOutbound { name, epoch } => self.pair(&name)?.retire(epoch, "outbound"),
            Request::RetireInbound { name, epoch } => self.pair(&name)?.retire(epoch, "inbound"),
            Request::Discard { name, epoch } => {
                let pair = self.pair(&name)?;
                pair.check_idle(epoch)?;
                pair.epochs.remove(&epoch);
                Ok(Response::Done)
            }
        }
    }

    fn define(&mut self, pair: SaPair) -> &mut Pair {
        let fresh = Pair {
            pair: pair.clone(),
            active: None,
            highest: Epoch(0),
            epochs: BTreeMap::new(),
            retired: BTreeMap::new(),
        };
        let kept = self.pairs.entry(pair.name.clone()).or_insert(fresh);
        kept.pair = pair;
        kept
    }

    fn prepare(
        &mut self,
        name: &PairName,
        epoch: Epoch,
        given: Option<KeyOffer>,
    ) -> Result<Response, AgentError> {
        self.next_spi += 1;
        let spi = self.next_spi;
        let pair = self.pair(name)?;
        if !pair.epochs.contains_key(&epoch) {
            if epoch <= pair.highest {
                return Err(refusal(AgentErrorCode::StaleEpoch, name.as_str()));
            }
            let offer = given.unwrap_or_else(|| fresh_offer(spi, pair.pair.aead));
            pair.highest = epoch;
            pair.epochs.insert(epoch, Keys { inbound: Some(offer), ..Keys::default() });
        }
        match &pair.keys(epoch)?.inbound {
            Some(offer) => {
                let offer = offer.dangerous_duplicate();
                Ok(Response::Prepared { offer, placement: placement() })
            }
            None => Err(refusal(AgentErrorCode::UnknownEpoch, name.as_str())),
        }
    }

    fn list(&self, after: Option<&PairName>, limit: usize) -> PairList {
        let behind = |name: &PairName| after.is_none_or(|after| name > after);
        let mut rest = self.pairs.iter().filter(|(name, _)| behind(name));
        // Small pages, so that paging is tested.
        let page: Vec<_> =
            rest.by_ref().take(limit.min(7)).map(|(_, pair)| pair.status()).collect();
        PairList { pairs: page, total: self.pairs.len(), more: rest.next().is_some() }
    }
}

impl Pair {
    fn keys(&mut self, epoch: Epoch) -> Result<&mut Keys, AgentError> {
        let name = self.pair.name.as_str();
        self.epochs.get_mut(&epoch).ok_or_else(|| refusal(AgentErrorCode::UnknownEpoch, name))
    }

    fn check_idle(&self, epoch: Epoch) -> Result<(), AgentError> {
        match self.active == Some(epoch) {
            true => Err(refusal(AgentErrorCode::InUse, self.pair.name.as_str())),
            false => Ok(()),
        }
    }

    fn retire(&mut self, epoch: Epoch, which: &'static str) -> Result<Response, AgentError> {
        self.check_idle(epoch)?;
        if let Some(keys) = self.epochs.get_mut(&epoch) {
            let (gone, count) = match which {
                "outbound" => (keys.outbound.take(), keys.sealed),
                _ => (keys.inbound.take(), keys.opened),
            };
            if gone.is_some() {
                self.retired.insert((epoch, which), count);
            }
            if keys.inbound.is_none() && keys.outbound.is_none() {
                self.epochs.remove(&epoch);
            }
        }
        Ok(Response::Retired { packets: self.retired.get(&(epoch, which)).copied() })
    }

    pub(crate) fn status(&self) -> PairStatus {
        let epochs = self.epochs.iter().map(|(epoch, keys)| EpochStatus {
            epoch: *epoch,
            inbound: keys.inbound.as_ref().map(|offer| keys.sa(offer, keys.opened, &self.pair)),
            outbound: keys.outbound.as_ref().map(|offer| keys.sa(offer, keys.sealed, &self.pair)),
        });
        PairStatus {
            pair: self.pair.clone(),
            epochs: epochs.collect(),
            active: self.active,
            highest: self.highest,
            unguarded: None,
        }
    }
}

impl Keys {
    fn sa(&self, offer: &KeyOffer, packets: u64, pair: &SaPair) -> SaStatus {
        let usage = SaUsage { packets, age: self.age, ..SaUsage::default() };
        SaStatus {
            spi: offer.spi,
            engine: "user-space".to_owned(),
            placement: placement(),
            key: offer.keying().unwrap().fingerprint().to_string(),
            usage,
            seconds_to_soft: pair.lifetimes.time_to_soft(self.age).map(|time| time.as_secs_f64()),
            resumed: self.resumed,
        }
    }
}

/// With a key by chance.
pub(crate) fn fresh_offer(spi: u32, aead: Aead) -> KeyOffer {
    let mut bytes = vec![0; aead.key_len() + Aead::SALT_LEN];
    SystemRandom::new().fill(&mut bytes).unwrap();
    let keying = KeyingMaterial::new(aead, SecretKey::copy_from(&bytes)).unwrap();
    KeyOffer::new(Spi::new(spi).unwrap(), &keying)
}

fn placement() -> Effective {
    let (requested, effective) = (Placement::KernelSoftware, Placement::UserSpace);
    Effective { requested, effective, reason: Some("no ESP in this kernel".to_owned()) }
}

/// `prepare trunk-1 2`
fn spoken(request: &Request) -> String {
    let json = serde_json::to_value(request).unwrap();
    let text = |key: &str| match &json[key] {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => format!(" {text}"),
        other => format!(" {other}"),
    };
    format!("{}{}{}", json["request"].as_str().unwrap(), text("name"), text("epoch"))
}
