//! `keymgr sa plan`: where a pair's SAs would go, and why not elsewhere.

use std::path::Path;

use crypto_offload::SaPair;
use gateway_control::{PlanReport, path};

use super::show;
use crate::{
    Failure, cli,
    gateway::Gateway,
    table::{print, table},
};

pub(super) async fn plan(gateway: &Gateway, plan: &cli::Plan) -> Result<(), Failure> {
    let pair = match (&plan.name, &plan.file) {
        (Some(name), _) => show::pair(gateway, name).await?.pair,
        (None, Some(file)) => read_pair(file)?,
        (None, None) => return Err(Failure::usage("name a pair or a file")),
    };
    show_plan(gateway, &pair).await
}

/// Asks for the plan of a pair and shows it.
pub(super) async fn show_plan(gateway: &Gateway, pair: &SaPair) -> Result<(), Failure> {
    let report: PlanReport = gateway.post(path::PLAN, pair).await?;
    if gateway.json() {
        return crate::print_json(&report);
    }
    let mut lines = table(["", "PLACEMENT", "ENGINE", "DEVICE", "WHY"]);
    for (at, step) in report.steps.iter().enumerate() {
        lines.add_row([
            (at + 1).to_string(),
            step.placement.to_string(),
            step.engine.clone(),
            step.device.clone().unwrap_or_else(|| "-".to_owned()),
            step.evidence.clone(),
        ]);
    }
    for refused in &report.refused {
        lines.add_row([
            "no".to_owned(),
            refused.placement.to_string(),
            refused.engine.clone(),
            "-".to_owned(),
            refused.reason.clone(),
        ]);
    }
    print(&lines)?;
    if report.steps.is_empty() {
        return Err(Failure::refused(format!("{} can be nowhere", report.name)));
    }
    Ok(())
}

/// A pair from a file of its fields.
pub(super) fn read_pair(path: &Path) -> Result<SaPair, Failure> {
    let text = crate::input::read(path)?;
    let pair: SaPair = serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    pair.check().map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok(pair)
}
