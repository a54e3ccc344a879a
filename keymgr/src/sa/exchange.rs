//! `keymgr sa identity|export|import`: rotations with peers that no gateway of ours can reach.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use crypto_offload::PairName;
use gateway_control::{
    ExchangeFile, ExchangeIdentity, ExportRequest, ImportRequest, OperationStarted, path,
};

use super::rotate;
use crate::{Failure, gateway::Gateway};

pub(super) async fn identity(gateway: &Gateway) -> Result<(), Failure> {
    let identity: ExchangeIdentity = gateway.get(path::EXCHANGE).await?;
    if gateway.json() {
        return crate::print_json(&identity);
    }
    println!("{}", identity.public_key);
    Ok(())
}

pub(super) async fn export(
    gateway: &Gateway,
    name: &PairName,
    recipient: &str,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let request = ExportRequest { recipient: recipient.to_owned() };
    let sealed: ExchangeFile =
        gateway.post(&path::EXPORT.replace("{name}", name.as_str()), &request).await?;
    match output {
        None => print!("{}", sealed.file),
        Some(output) => {
            write_new(output, &sealed.file)?;
            eprintln!(
                "epoch {} of {name} is prepared; give {} to the peer and import its file",
                sealed.epoch,
                output.display()
            );
        }
    }
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
