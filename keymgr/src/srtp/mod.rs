//! `keymgr srtp`: one file a command.

mod list;
mod rekey;

use crate::{Failure, cli::Srtp, gateway::Gateway};

pub(crate) async fn run(gateway: &Gateway, command: &Srtp) -> Result<(), Failure> {
    match command {
        Srtp::List(asked) => list::list(gateway, asked).await,
        Srtp::Rekey(asked) => rekey::rekey(gateway, asked).await,
    }
}
