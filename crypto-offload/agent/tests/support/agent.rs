//! An agent in this process, over model kernels, in a directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crypto_offload::{
    Aead, Epoch, KeyingMaterial, PairName, Placement, SaPair, SecretKey, Spi,
    middleware::{Call, Faults, Faulty, Model, Recording},
};
use gateway_control::{
    KeyOffer, PairStatus,
    agent::{AgentError, Request, Response},
};
use offload_agent::{Engines, EventLog, KeySource, Pairs, Places, StartError, State};

/// Model kernels that outlive agents, and the agent's directories.
pub struct World {
    pub directory: Directory,
    pub xfrm: Model,
    pub user_space: Model,
    /// Of `xfrm`.
    pub faults: Faults,
    /// Of `xfrm`, failed ones too.
    pub calls: Arc<Mutex<Vec<Call>>>,
    pub events: Arc<EventLog>,
}

/// Removed with its contents at the end.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("offload-agent-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl World {
    pub fn new() -> Self {
        let kernel = [Placement::InlineCrypto, Placement::KernelSoftware];
        Self {
            directory: Directory::new(),
            xfrm: Model::new("xfrm", &kernel),
            user_space: Model::new("user-space", &[Placement::UserSpace]),
            faults: Faults::default(),
            calls: Arc::default(),
            events: Arc::default(),
        }
    }

    pub fn places(&self) -> Places {
        places(&self.directory.0)
    }

    pub fn engines(&self) -> Engines {
        let calls = Arc::clone(&self.calls);
        let listener = move |call| calls.lock().expect("whole").push(call);
        let xfrm = Recording::new(Faulty::new(self.xfrm.clone(), &self.faults), listener);
        Engines::new(vec![Box::new(xfrm), Box::new(self.user_space.clone())])
    }

    pub fn try_start(&self) -> Result<Pairs, StartError> {
        Pairs::start(self.engines(), State::open(&self.places())?, Arc::clone(&self.events))
    }

    pub fn start(&self) -> Pairs {
        self.try_start().expect("starts")
    }
}

pub fn places(directory: &Path) -> Places {
    Places {
        directory: directory.join("state"),
        runtime: directory.join("run"),
        key: KeySource::Runtime,
    }
}

/// `trunk-N`, whose inner networks are N's alone.
pub fn pair(number: u16) -> SaPair {
    let [high, low] = number.to_be_bytes();
    let text = format!(
        r#"{{"name": "trunk-{number}", "local": "192.0.2.1", "remote": "192.0.2.2",
        "local_net": "10.{high}.{low}.0/25", "remote_net": "10.{high}.{low}.128/25"}}"#
    );
    serde_json::from_str(&text).expect("a pair")
}

pub fn name(number: u16) -> PairName {
    pair(number).name
}

/// The peer's offer; the same numbers make the same key.
pub fn offer(number: u16, epoch: u64) -> KeyOffer {
    let spi = 0xc100_0000 + u32::from(number) * 0x100 + u32::try_from(epoch).expect("small");
    let mut bytes = [7; 36];
    bytes[8..10].copy_from_slice(&number.to_be_bytes());
    bytes[..8].copy_from_slice(&epoch.to_be_bytes());
    let keying = KeyingMaterial::new(Aead::Aes256Gcm, SecretKey::copy_from(&bytes));
    KeyOffer::new(Spi::new(spi).expect("free"), &keying.expect("36 bytes"))
}

/// Every request of a pair's life up to its second epoch, in order.
pub fn life(number: u16) -> Vec<Request> {
    let name = name(number);
    let mut requests = vec![Request::Define { pair: Box::new(pair(number)) }];
    requests.extend(keys(number, 1));
    requests.extend(keys(number, 2));
    let epoch = Epoch(1);
    requests.push(Request::RetireOutbound { name: name.clone(), epoch });
    requests.push(Request::RetireInbound { name, epoch });
    requests
}

/// What brings an epoch into use.
pub fn keys(number: u16, epoch: u64) -> Vec<Request> {
    let (name, offer) = (name(number), offer(number, epoch));
    let epoch = Epoch(epoch);
    vec![
        Request::Prepare { name: name.clone(), epoch, given: None },
        Request::InstallOutbound { name: name.clone(), epoch, offer },
        Request::Switch { name, epoch },
    ]
}

pub fn expect_ok(response: Response) -> Response {
    if let Response::Refused(error) = &response {
        panic!("refused: {error}");
    }
    response
}

pub fn refused(response: Response) -> AgentError {
    match response {
        Response::Refused(error) => error,
        other => panic!("not refused: {other:?}"),
    }
}

pub fn show(pairs: &mut Pairs, number: u16) -> PairStatus {
    match pairs.answer(Request::Show { name: name(number) }) {
        Response::Pair(status) => *status,
        other => panic!("no status: {other:?}"),
    }
}
