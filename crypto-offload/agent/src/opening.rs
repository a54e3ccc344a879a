//! Opening the engines that were asked for. One that cannot be opened is passed over loudly; with
//! none left there is nothing to serve.

use std::sync::Arc;

use crypto_offload::{EngineError, ErrorClass, IpsecEngine};
use crypto_offload_xfrm::XfrmEngine;
use offload_agent::{
    Engines,
    user_space::{Settings, UserSpaceEngine, reservation::Reservations},
};

use crate::cli::{EngineArguments, EngineName, Failure};

/// In the order asked for; the user-space engine's keeps its numbers in `reservations`.
pub(crate) fn open(
    arguments: &EngineArguments,
    reservations: &Arc<dyn Reservations>,
) -> Result<Engines, Failure> {
    let mut engines = Vec::new();
    let mut refusals = Vec::new();
    for name in &arguments.engines {
        match one(*name, arguments, reservations) {
            Ok(engine) => engines.push(engine),
            Err(error) => {
                tracing::warn!(engine = ?name, %error, "this engine cannot be used");
                refusals.push(error.to_string());
            }
        }
    }
    if engines.is_empty() {
        let error = anyhow::anyhow!("no engine can be used: {}", refusals.join("; "));
        return Err(Failure::unavailable(error));
    }
    let sees_all = engines.iter().any(|engine| engine.sees_all_traffic());
    let engines = Engines::new(engines);
    Ok(if sees_all { engines } else { engines.guarded_by(guard()) })
}

/// The kernel's policies refuse clear text also where it does no ESP, or is not to do any.
fn guard() -> Result<Box<dyn IpsecEngine>, String> {
    match XfrmEngine::open() {
        Ok(engine) => Ok(Box::new(engine)),
        Err(error) => {
            tracing::warn!(%error, "clear text cannot be refused as it comes in");
            Err(error.to_string())
        }
    }
}

fn one(
    name: EngineName,
    arguments: &EngineArguments,
    reservations: &Arc<dyn Reservations>,
) -> Result<Box<dyn IpsecEngine>, EngineError> {
    let mut engine: Box<dyn IpsecEngine> = match name {
        EngineName::Xfrm => Box::new(XfrmEngine::open()?),
        EngineName::UserSpace => {
            let settings = Settings { device: arguments.tun.clone(), ..Settings::default() };
            let engine = UserSpaceEngine::new(settings, Arc::clone(reservations));
            Box::new(engine.map_err(|error| EngineError {
                class: ErrorClass::Fatal,
                operation: "open engine".to_owned(),
                object: "user-space".to_owned(),
                reason: error.to_string(),
                hint: None,
            })?)
        }
    };
    engine.probe()?;
    Ok(engine)
}
