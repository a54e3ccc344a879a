//! Opening the engines that were asked for. One that cannot be opened is passed over loudly; with
//! none left there is nothing to serve.

use crypto_offload::{EngineError, IpsecEngine};
use crypto_offload_xfrm::XfrmEngine;
use offload_agent::Engines;

use crate::cli::{EngineArguments, EngineName, Failure};

/// In the order asked for.
pub(crate) fn open(arguments: &EngineArguments) -> Result<Engines, Failure> {
    let mut engines = Vec::new();
    let mut refusals = Vec::new();
    for name in &arguments.engines {
        match one(*name, arguments) {
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
    Ok(Engines::new(engines))
}

fn one(
    name: EngineName,
    _arguments: &EngineArguments,
) -> Result<Box<dyn IpsecEngine>, EngineError> {
    let mut engine: Box<dyn IpsecEngine> = match name {
        EngineName::Xfrm => Box::new(XfrmEngine::open()?),
        EngineName::UserSpace => {
            return Err(EngineError {
                class: crypto_offload::ErrorClass::Unsupported,
                operation: "open engine".to_owned(),
                object: "user-space".to_owned(),
                reason: "it is not built in".to_owned(),
                hint: None,
            });
        }
    };
    engine.probe()?;
    Ok(engine)
}
