//! `keymgr sa identity|export|import`: rotations with peers that no gateway of ours can reach.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use crypto_offload::PairName;
use gateway_control::{
    ExchangeFile, ExchangeIdentity, ExportRequest, ImportRequest, OperationStarted, path,
};

use super::rotate;
use crate::{Failure, cli, gateway::Gateway, output};

pub(super) async fn identity(gateway: &Gateway) -> Result<(), Failure> {
    let identity: ExchangeIdentity = gateway.get(path::EXCHANGE).await?;
    if gateway.json() {
        return crate::print_json(&identity);
    }
    output::line(identity.public_key)
}

pub(super) async fn export(gateway: &Gateway, export: &cli::Export) -> Result<(), Failure> {
    let name = &export.name;
    let request = ExportRequest { recipient: export.to.clone(), new: export.new };
    let sealed: ExchangeFile =
        gateway.post(&path::EXPORT.replace("{name}", name.as_str()), &request).await?;
    let epoch = sealed.epoch;
    if sealed.again {
        eprintln!(
            "epoch {epoch} of {name} again, as nothing has come under it yet: if the peer has it, \
             --new begins another"
        );
    }
    let Some(file) = &export.output else { return output::text(&sealed.file) };
    write_new(file, &sealed.file)?;
    eprintln!(
        "epoch {epoch} of {name} is prepared; give {} to the peer and import its file",
        file.display()
    );
    Ok(())
}

/// Sealed, but nobody else's business; and no file is overwritten by a slip.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

pub(super) async fn import(
    gateway: &Gateway,
    name: &PairName,
    file: &Path,
    sender: &str,
) -> Result<(), Failure> {
    let request = ImportRequest { file: crate::input::read(file)?, sender: sender.to_owned() };
    let started: OperationStarted =
        gateway.post(&path::IMPORT.replace("{name}", name.as_str()), &request).await?;
    rotate::follow(gateway, &started.operation).await
}
