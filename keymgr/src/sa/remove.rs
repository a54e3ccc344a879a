//! `keymgr sa remove`.

use crypto_offload::PairName;
use gateway_control::path;

use super::show;
use crate::{Failure, gateway::Gateway, output};

pub(super) async fn remove(
    gateway: &Gateway,
    name: &PairName,
    dry_run: bool,
) -> Result<(), Failure> {
    // Asked first, so that a slip in the name is an error and what is removed can be told.
    let status = show::pair(gateway, name).await?;
    let sas = status
        .epochs
        .iter()
        .map(|epoch| usize::from(epoch.inbound.is_some()) + usize::from(epoch.outbound.is_some()));
    let sas: usize = sas.sum();
    if dry_run {
        let traffic = status.pair.outbound_selector();
        return output::line(format_args!(
            "would remove {name}: {sas} SAs, and the policies for {traffic}"
        ));
    }
    gateway.delete(&path::SA.replace("{name}", name.as_str())).await?;
    if gateway.json() {
        return crate::print_json(&status);
    }
    output::line(format_args!("removed {name}: {sas} SAs"))
}
