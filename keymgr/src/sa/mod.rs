//! `keymgr sa`: one file a command.

mod add;
mod events;
mod exchange;
mod list;
mod log;
mod plan;
mod remove;
mod rotate;
mod show;

use crate::{Failure, cli::Sa, gateway::Gateway};

pub(crate) async fn run(gateway: &Gateway, command: &Sa) -> Result<(), Failure> {
    match command {
        Sa::Add(add) => add::add(gateway, add).await,
        Sa::List { foreign: false, group } => list::list(gateway, group.as_deref()).await,
        Sa::List { foreign: true, .. } => list::list_foreign(gateway).await,
        Sa::Show { name } => show::show(gateway, name).await,
        Sa::Rotate(rotate) => rotate::rotate(gateway, rotate).await,
        Sa::Remove { name, dry_run } => remove::remove(gateway, name, *dry_run).await,
        Sa::Watch { past } => events::watch(gateway, *past).await,
        Sa::Plan(plan) => plan::plan(gateway, plan).await,
        Sa::Log { limit } => log::log(gateway, *limit).await,
        Sa::Identity => exchange::identity(gateway).await,
        Sa::Export(export) => exchange::export(gateway, export).await,
        Sa::Import { name, file, from } => exchange::import(gateway, name, file, from).await,
    }
}
