//! The engine as the agent sees it: what is installed, in what order, and undoing half of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io,
    net::IpAddr,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use crypto_offload::{
    Aead, Answer, Capabilities, Capability, Direction, Effective, EngineError, EngineEvent,
    ErrorClass, Evidence, Feature, InstalledSa, IpsecEngine, MAX_REPLAY_WINDOW, Mode, Placement,
    PolicyDirection, PolicySpec, Reqid, SaId, SaSpec, SaUsage, Selector,
};
use packet_io::{Token, esp::EspOptions};

use super::{
    account::Account,
    data_path::{Command, Policies},
    event_queue::{EventQueue, EventSource},
    keeper::{Notice, path_mtu},
    network::{IsNew, SocketKey, peer_of},
    policy_table::PolicyTable,
    refusal,
    reservation::Reservations,
    running::Running,
    sa::{Inbound, Outbound},
    statistics::Statistics,
    upkeep::Upkeep,
};

/// What may be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The TUN device's name.
    pub device: String,
    /// The longest inner packet in bytes, and so the device's highest MTU.
    pub longest_packet: u16,
    /// Buffers and offloads of the ESP sockets.
    pub sockets: EspOptions,
}

impl Default for Settings {
    /// For paths of Ethernet's MTU.
    fn default() -> Self {
        Self { device: "postern0".to_owned(), longest_packet: 1500, sockets: EspOptions::default() }
    }
}

/// ESP in user space: see the module `user_space`. It belongs to the network namespace of the
/// threads that call it. The device is made with the first SA or policy, so that a host whose
/// kernel does ESP has none.
pub struct UserSpaceEngine {
    settings: Settings,
    capabilities: Capabilities,
    reservations: Arc<dyn Reservations>,
    statistics: Arc<Statistics>,
    events: Arc<EventQueue>,
    source: EventSource,
    pub(super) running: Option<Running>,
    pub(super) sas: BTreeMap<SaId, Installed>,
    pub(super) free_slots: Vec<u32>,
    pub(super) next_slot: u32,
    /// By index; `None` is free.
    pub(super) policies: Vec<Option<PolicySpec>>,
    by_selector: HashMap<Selector, u32>,
    /// Policies that look at what was opened: each SA checks its own selector, so they are only
    /// remembered.
    opened: HashSet<(PolicyDirection, Selector)>,
    promised: HashMap<SaId, Instant>,
    pub(super) upkeep: Upkeep,
}

pub(super) struct Installed {
    account: Arc<Account>,
    socket: SocketKey,
    token: Token,
    /// Of outbound SAs.
    slot: Option<u32>,
}

impl UserSpaceEngine {
    /// An engine without SAs; nothing is made yet, and whether it can be is probed.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new(settings: Settings, reservations: Arc<dyn Reservations>) -> io::Result<Self> {
        let source = EventSource::new()?;
        Ok(Self {
            settings,
            capabilities: probe(),
            reservations,
            statistics: Arc::default(),
            events: Arc::new(EventQueue::new(&source)),
            source,
            running: None,
            sas: BTreeMap::new(),
            free_slots: Vec::new(),
            next_slot: 0,
            policies: Vec::new(),
            by_selector: HashMap::new(),
            opened: HashSet::new(),
            promised: HashMap::new(),
            upkeep: Upkeep::new(),
        })
    }

    fn running(&mut self) -> Result<&mut Running, EngineError> {
        self.bury();
        if self.running.is_none() {
            self.running = Some(Running::start(
                &self.settings,
                Arc::clone(&self.reservations),
                Arc::clone(&self.statistics),
                Arc::clone(&self.events),
            )?);
            self.lay_routes();
            if !self.policies.is_empty() {
                self.hand_over_policies()?;
            }
        }
        self.running.as_mut().ok_or_else(|| not_there("use", "user-space ESP"))
    }

    fn check(&self, sa: &SaSpec, placement: Placement) -> Result<(), EngineError> {
        let refuse =
            |class, reason: &str, hint| Err(refusal(class, "install SA", sa.id, reason, hint));
        if placement != Placement::UserSpace {
            return refuse(ErrorClass::Unsupported, "this engine is user space alone", None);
        }
        if sa.mode == Mode::Transport {
            let reason = "user-space ESP has tunnel mode only";
            return refuse(ErrorClass::Unsupported, reason, Some("set mode = \"tunnel\""));
        }
        if self.sas.contains_key(&sa.id) {
            return refuse(ErrorClass::Conflict, "there is such an SA", None);
        }
        if sa.replay_window == 0 || sa.replay_window > MAX_REPLAY_WINDOW {
            return refuse(ErrorClass::Unsupported, "its replay window is not of 1 to 4096", None);
        }
        Ok(())
    }

    /// The socket for `sa`, opened by the data thread if it is new.
    fn acquire(&mut self, sa: &SaSpec) -> Result<(SocketKey, Token), EngineError> {
        let (key, options) = (SocketKey::of(sa), self.settings.sockets);
        let running = self.running()?;
        let (token, is_new) = running.sockets.acquire(key);
        if is_new == IsNew::Yes
            && let Err(error) = running.ask(Command::OpenSocket { key, token, options })
        {
            running.sockets.release(key);
            return Err(error);
        }
        Ok((key, token))
    }

    fn release(&mut self, key: SocketKey) -> Result<(), EngineError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        match running.sockets.release(key) {
            Some(token) => running.ask(Command::CloseSocket(token)),
            None => Ok(()),
        }
    }

    /// Hands `sa` to the data thread; the slot of an outbound one.
    fn hand_over(
        &mut self,
        sa: &SaSpec,
        token: Token,
        account: &Arc<Account>,
    ) -> Result<Option<u32>, EngineError> {
        let account = Arc::clone(account);
        let (command, slot) = match sa.direction {
            Direction::Inbound => {
                let inbound = Box::new(Inbound::new(sa, account));
                (Command::AddInbound(token, sa.id.spi.value(), inbound), None)
            }
            Direction::Outbound => {
                let outbound = Box::new(Outbound::new(sa, account, token, peer_of(sa)));
                let slot = self.free_slots.last().copied().unwrap_or(self.next_slot);
                (Command::AddOutbound(slot, outbound), Some(slot))
            }
        };
        self.running()?.ask(command)?;
        if slot.is_some() && self.free_slots.pop().is_none() {
            self.next_slot += 1;
        }
        Ok(slot)
    }

    /// Points policies that name the SA `id` to `slot`.
    fn bind(&self, id: SaId, slot: Option<u32>) -> Result<(), EngineError> {
        let Some(running) = &self.running else { return Ok(()) };
        for (policy, spec) in (0..).zip(&self.policies) {
            if spec.as_ref().and_then(sa_of) == Some(id) {
                running.ask(Command::Bind { policy, sa: slot })?;
            }
        }
        Ok(())
    }

    /// The slot that a policy's packets go to.
    fn slot_for(&self, policy: &PolicySpec) -> Option<u32> {
        self.sas.get(&sa_of(policy)?).and_then(|installed| installed.slot)
    }

    /// Makes the table anew, for policies that came or went.
    fn hand_over_policies(&mut self) -> Result<(), EngineError> {
        let present = |(at, spec): (u32, &'_ Option<PolicySpec>)| {
            spec.as_ref().map(|spec| (spec.selector, at))
        };
        let selectors: Vec<_> = (0..).zip(&self.policies).filter_map(present).collect();
        let table = PolicyTable::new(selectors.iter().map(|(selector, at)| (selector, *at)));
        let slots = self.policies.iter().map(|spec| self.slot_for(spec.as_ref()?));
        let policies = Box::new(Policies { table, bindings: slots.collect() });
        self.running()?.ask(Command::SetPolicies(policies))
    }

    fn set_outbound_policy(&mut self, policy: &PolicySpec) -> Result<(), EngineError> {
        if let Some(&at) = self.by_selector.get(&policy.selector) {
            let sa = self.slot_for(policy);
            self.running()?.ask(Command::Bind { policy: at, sa })?;
            self.policies[at as usize] = Some(policy.clone());
            return Ok(());
        }
        let running = self.running()?;
        running.routes.add(&mut running.link, &policy.selector)?;
        let at = self.policies.iter().position(Option::is_none).unwrap_or(self.policies.len());
        if at == self.policies.len() {
            self.policies.push(None);
        }
        self.policies[at] = Some(policy.clone());
        if let Err(error) = self.hand_over_policies() {
            self.policies[at] = None;
            let running = self.running()?;
            running.routes.remove(&mut running.link, &policy.selector)?;
            return Err(error);
        }
        self.by_selector.insert(policy.selector, at as u32);
        Ok(())
    }
}

impl IpsecEngine for UserSpaceEngine {
    fn name(&self) -> &'static str {
        "user-space"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn probe(&mut self) -> Result<(), EngineError> {
        self.capabilities = probe();
        Ok(())
    }

    fn reserve(&mut self, id: SaId, _: IpAddr, _: Reqid) -> Result<(), EngineError> {
        let now = Instant::now();
        self.promised.retain(|_, made| now.duration_since(*made) < PROMISE);
        if self.sas.contains_key(&id) || self.promised.contains_key(&id) {
            return Err(refusal(ErrorClass::Conflict, "reserve SPI", id, "it is in use", None));
        }
        self.promised.insert(id, now);
        Ok(())
    }

    fn install(&mut self, sa: &SaSpec, placement: Placement) -> Result<Effective, EngineError> {
        self.check(sa, placement)?;
        let (socket, token) = self.acquire(sa)?;
        let account = Arc::new(Account::new(sa, path_mtu(sa.source, sa.id.destination)));
        let slot = match self.hand_over(sa, token, &account) {
            Ok(slot) => slot,
            Err(error) => {
                self.release(socket)?;
                return Err(error);
            }
        };
        self.running()?.tell(Notice::Installed(Arc::clone(&account)));
        self.sas.insert(sa.id, Installed { account, socket, token, slot });
        self.promised.remove(&sa.id);
        if slot.is_some()
            && let Err(error) = self.bind(sa.id, slot)
        {
            self.remove(sa.id)?;
            return Err(error);
        }
        Ok(Effective { requested: placement, effective: Placement::UserSpace, reason: None })
    }

    fn remove(&mut self, id: SaId) -> Result<(), EngineError> {
        self.promised.remove(&id);
        let Some(installed) = self.sas.get(&id) else { return Ok(()) };
        let (socket, token, slot) = (installed.socket, installed.token, installed.slot);
        self.bind(id, None)?;
        let running = self.running()?;
        running.ask(match slot {
            Some(slot) => Command::RemoveOutbound(slot),
            None => Command::RemoveInbound(token, id.spi.value()),
        })?;
        running.tell(Notice::Removed(id));
        self.sas.remove(&id);
        self.free_slots.extend(slot);
        self.release(socket)
    }

    fn sees_all_traffic(&self) -> bool {
        false
    }

    fn gets_past(&self, policy: &PolicySpec) -> Result<(), String> {
        let is_ipv6 = policy.selector.destination.addr().is_ipv6();
        let judged = self.running.as_ref().map(|running| &running.judged);
        let refused = match policy.direction {
            PolicyDirection::Out if is_ipv6 => Some(NO_EXEMPTION.to_owned()),
            // IPv4 asks the device that a packet came in by, and so does IPv6 for what it hands on;
            // for what is its own, IPv6 asks the device that has the address.
            PolicyDirection::In if is_ipv6 => Some(NO_EXEMPTION.to_owned()),
            PolicyDirection::Out => judged.and_then(|judged| judged.outbound.clone()),
            PolicyDirection::In | PolicyDirection::Forward => {
                judged.and_then(|judged| judged.opened.clone())
            }
        };
        refused.map_or(Ok(()), Err)
    }

    fn set_policy(&mut self, policy: &PolicySpec, placement: Placement) -> Result<(), EngineError> {
        let refuse = |reason: &str, hint| {
            let object = policy.selector;
            Err(refusal(ErrorClass::Unsupported, "set policy", object, reason, Some(hint)))
        };
        if placement != Placement::UserSpace {
            return refuse("this engine is user space alone", "allow user-space in `placement`");
        }
        if policy.mode == Mode::Transport {
            return refuse("user-space ESP has tunnel mode only", "set mode = \"tunnel\"");
        }
        if policy.direction != PolicyDirection::Out {
            self.opened.insert((policy.direction, policy.selector));
            return Ok(());
        }
        if policy.selector.destination.contains(&policy.destination) {
            return refuse(
                "the route for this traffic would lead the tunnel's own packets into it",
                "name a `remote_net` without the address `remote`",
            );
        }
        self.set_outbound_policy(policy)
    }

    fn remove_policy(
        &mut self,
        direction: PolicyDirection,
        selector: &Selector,
    ) -> Result<(), EngineError> {
        if direction != PolicyDirection::Out {
            self.opened.remove(&(direction, *selector));
            return Ok(());
        }
        let Some(&at) = self.by_selector.get(selector) else { return Ok(()) };
        let policy = self.policies[at as usize].take();
        if let Err(error) = self.hand_over_policies() {
            self.policies[at as usize] = policy;
            return Err(error);
        }
        self.by_selector.remove(selector);
        let running = self.running()?;
        running.routes.remove(&mut running.link, selector)
    }

    fn list(&mut self) -> Result<Vec<InstalledSa>, EngineError> {
        Ok(self.sas.values().map(|installed| installed.account.describe()).collect())
    }

    fn usage(&mut self, id: SaId) -> Result<SaUsage, EngineError> {
        let installed = self.sas.get(&id).ok_or_else(|| not_there("read usage of", id))?;
        Ok(installed.account.usage())
    }

    fn events(&mut self) -> Result<Vec<EngineEvent>, EngineError> {
        self.tend();
        self.events.drain(&mut self.source).map_err(|error| {
            refusal(ErrorClass::Fatal, "read", "events of user-space ESP", error, None)
        })
    }

    fn event_source(&self) -> Option<BorrowedFd<'_>> {
        Some(self.source.fd())
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, EngineError> {
        Ok(self.statistics.all())
    }
}

/// The SA that an outbound policy names.
fn sa_of(policy: &PolicySpec) -> Option<SaId> {
    policy.spi.map(|spi| SaId { destination: policy.destination, spi })
}

fn not_there(operation: &str, object: impl ToString) -> EngineError {
    refusal(ErrorClass::Gone, operation, object, "there is none", None)
}

/// Of packets to the host's own addresses, and of those that leave.
const NO_EXEMPTION: &str = "the kernel exempts no device's packets to IPv6 addresses of its own";

/// Anybody may open the driver; what makes a device of it takes a capability.
fn may_make_devices() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, capabilities};
    let ours = capabilities(None)?.effective;
    let may = ours.contains(CapabilitySet::NET_ADMIN);
    if may { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

/// What this code can do, and whether the kernel has the device that it needs.
fn probe() -> Capabilities {
    let declared = |feature, answer, by: &str| Capability {
        placement: Placement::UserSpace,
        device: None,
        feature,
        answer,
        evidence: Evidence::Declared { by: by.to_owned() },
    };
    let opened = may_make_devices()
        .and_then(|()| File::options().read(true).write(true).open("/dev/net/tun"));
    let engine = Capability {
        placement: Placement::UserSpace,
        device: None,
        feature: Feature::Engine,
        answer: if opened.is_ok() { Answer::Yes } else { Answer::No },
        evidence: Evidence::Probed {
            errno: opened.as_ref().err().and_then(io::Error::raw_os_error),
            message: Some(match &opened {
                Ok(_) => "/dev/net/tun opens".to_owned(),
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                    "a TUN device needs CAP_NET_ADMIN: run as root, or give it with \
                     AmbientCapabilities=CAP_NET_ADMIN"
                        .to_owned()
                }
                Err(_) => "/dev/net/tun does not open: `modprobe tun`, `mknod /dev/net/tun c 10 \
                           200`, CAP_NET_ADMIN"
                    .to_owned(),
            }),
        },
    };
    let ours = "this program";
    let mut entries = vec![engine];
    entries.extend(Aead::ALL.map(|aead| declared(Feature::Aead(aead), Answer::Yes, ours)));
    let only = "this program: user-space ESP has tunnel mode only";
    entries.extend([
        declared(Feature::Mode(Mode::Tunnel), Answer::Yes, ours),
        declared(Feature::Mode(Mode::Transport), Answer::No, only),
        declared(Feature::Ipv6, Answer::Yes, ours),
        declared(Feature::UdpEncapsulation, Answer::Yes, ours),
        declared(Feature::Esn, Answer::Yes, ours),
        declared(Feature::ReplayWindow(MAX_REPLAY_WINDOW), Answer::Yes, ours),
        declared(Feature::CountedLimits, Answer::Yes, ours),
    ]);
    Capabilities { entries }
}

/// As long as the kernel keeps a reserved SPI (`xfrm_acq_expires`).
const PROMISE: Duration = Duration::from_secs(30);
