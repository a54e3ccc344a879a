//! `keymgr tls`: one file a command.

mod keyupdate;
mod list;
mod reload;
mod tickets;

use crate::{Failure, cli::Tls, gateway::Gateway};

pub(crate) async fn run(gateway: &Gateway, command: &Tls) -> Result<(), Failure> {
    match command {
        Tls::List(list) => list::list(gateway, list).await,
        Tls::Reload(reload) => reload::reload(gateway, reload).await,
        Tls::RotateTickets(rotate) => tickets::rotate(gateway, rotate.dry_run).await,
        Tls::KeyUpdate(update) => keyupdate::update(gateway, update).await,
    }
}
