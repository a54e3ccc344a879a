//! `offload-agent probe`: what the engines can do, and how we know.

use std::{process::ExitCode, sync::Arc};

use offload_agent::user_space::reservation::{InMemory, Reservations};

use crate::{
    cli::{EngineArguments, Failure},
    log, opening,
};

pub(crate) fn print(arguments: &EngineArguments, json: bool) -> Result<ExitCode, Failure> {
    log::start("warn")?;
    let reservations: Arc<dyn Reservations> = Arc::new(InMemory::default());
    let engines = opening::open(arguments, &reservations)?;
    if json {
        let all: Vec<_> =
            engines.iter().map(|engine| (engine.name(), engine.capabilities())).collect();
        println!("{}", serde_json::to_string_pretty(&all).map_err(anyhow::Error::from)?);
        return Ok(ExitCode::SUCCESS);
    }
    for engine in engines.iter() {
        println!("{}", engine.name());
        for entry in &engine.capabilities().entries {
            let device = entry.device.as_ref().map(|name| format!(" on {name}"));
            let place = format!("{}{}", entry.placement, device.unwrap_or_default());
            let (feature, answer) = (format!("{:?}", entry.feature), format!("{:?}", entry.answer));
            println!("  {place:28} {feature:28} {answer:8} {}", entry.evidence);
        }
    }
    Ok(ExitCode::SUCCESS)
}
