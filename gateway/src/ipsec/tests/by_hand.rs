//! Keys that people bring.

use admin_client::{ClientError, location};
use crypto_offload::{Aead, Epoch, ErrorClass, KeyingMaterial, SaPair, SecretKey, Spi};
use gateway_control::agent::{AgentError, AgentErrorCode, Request};
use gateway_control::{
    AddSa, ErrorCode, ExchangeFile, ExchangeIdentity, ExportRequest, ImportRequest, KeyOffer,
    ManualKeys, Operation, OperationStarted, OperationState, path,
};

use super::site::{Site, assert_settled, ends, pair_of_sites};
use crate::ipsec::agent::model::{Keys, Trouble};

fn without_peer() -> (SaPair, SaPair) {
    let (mut a, mut b) = ends("trunk-1", 1);
    (a.peer, b.peer) = (None, None);
    (a, b)
}

async fn identity(site: &Site) -> String {
    site.client.get::<ExchangeIdentity>(path::EXCHANGE).await.unwrap().public_key
}

async fn export(from: &Site, to: &Site) -> Result<ExchangeFile, ClientError> {
    export_of(from, to, false).await
}

async fn export_of(from: &Site, to: &Site, new: bool) -> Result<ExchangeFile, ClientError> {
    let request = ExportRequest { recipient: identity(to).await, new };
    from.client.post(&location(path::EXPORT, &["trunk-1"]), &request).await
}

async fn import(
    at: &Site,
    sender: &Site,
    file: &str,
) -> Result<Operation, gateway_control::ApiError> {
    let request = ImportRequest { file: file.to_owned(), sender: identity(sender).await };
    let at_path = location(path::IMPORT, &["trunk-1"]);
    match at.client.post::<_, OperationStarted>(&at_path, &request).await {
        Ok(started) => Ok(at.end_of(&started).await),
        Err(ClientError::Refused(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn two_gateways_that_cannot_talk_rotate_by_files() {
    let (a, b) = pair_of_sites("files").await;
    let (at_a, at_b) = without_peer();
    a.define(at_a).await;
    b.define(at_b).await;
    for epoch in 1..=2 {
        let from_a = export(&a, &b).await.unwrap();
        assert_eq!(from_a.epoch, Epoch(epoch));
        assert_eq!(export(&a, &b).await.unwrap().epoch, Epoch(epoch), "prepared already");
        assert_eq!(import(&b, &a, &from_a.file).await.unwrap().state, OperationState::Done);
        let file = reply(&b, &a).await;
        let done = import(&a, &b, &file).await.unwrap();
        assert_eq!(done.state, OperationState::Done, "{done:?}");
        heard(&a, epoch);
        heard(&b, epoch);
        let calm = |site: &Site| site.status("trunk-1").epochs.len() == 1;
        a.until("calm", calm).await;
        b.until("calm", calm).await;
        assert_settled(&a, &b, "trunk-1", epoch);
    }
}

/// Both have epoch 1 by files, and no packet has come.
async fn exchanged(name: &str) -> (Site, Site) {
    let (a, b) = pair_of_sites(name).await;
    let (at_a, at_b) = without_peer();
    a.define(at_a).await;
    b.define(at_b).await;
    let first = export(&a, &b).await.unwrap().file;
    import(&b, &a, &first).await.unwrap();
    let answer = reply(&b, &a).await;
    import(&a, &b, &answer).await.unwrap();
    (a, b)
}

#[tokio::test]
async fn an_idle_pair_gets_new_keys_when_they_are_asked_for() {
    let (a, b) = exchanged("idle").await;
    let again = export(&a, &b).await.unwrap();
    assert_eq!((again.epoch, again.again), (Epoch(1), true), "the other side may not have it");
    let new = export_of(&a, &b, true).await.unwrap();
    assert_eq!((new.epoch, new.again), (Epoch(2), false));
    import(&b, &a, &new.file).await.unwrap();
    let answer = reply(&b, &a).await;
    import(&a, &b, &answer).await.unwrap();
    for site in [&a, &b] {
        assert_eq!(site.status("trunk-1").active, Some(Epoch(2)));
        assert_eq!(site.status("trunk-1").epochs.len(), 2, "no packet has come");
    }
}

#[tokio::test]
async fn what_people_began_is_ended_by_a_gateway_that_remembers_nothing_of_it() {
    let (_a, b) = exchanged("carried-restart").await;
    b.model.with(|state| {
        let pair = state.pairs.values_mut().next().unwrap();
        let (inbound, outbound) = (Some(offer(0xc100_0001, 7)), Some(offer(0xc100_0002, 8)));
        pair.epochs.insert(Epoch(2), Keys { inbound, outbound, ..Keys::default() });
        (pair.active, pair.highest) = (Some(Epoch(2)), Epoch(2));
    });
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(b.status("trunk-1").epochs.len(), 2, "no packet has come");
    heard(&b, 2);
    b.until("ended", |b| b.status("trunk-1").epochs.len() == 1).await;
    assert_eq!(b.status("trunk-1").active, Some(Epoch(2)));
}

#[tokio::test]
async fn what_was_exported_stays_open_when_the_answer_cannot_be_put_in_place() {
    let (a, b) = exchanged("offered").await;
    let new = export_of(&a, &b, true).await.unwrap();
    import(&b, &a, &new.file).await.unwrap();
    let answer = reply(&b, &a).await;
    let mut failures = 1;
    a.model.fail(move |request| {
        let hit = failures == 1 && matches!(request, Request::InstallOutbound { .. });
        failures -= u32::from(hit);
        let error = AgentError {
            code: AgentErrorCode::Engine(ErrorClass::Fatal),
            message: "no room".to_owned(),
            place: "engine".to_owned(),
            hint: None,
        };
        hit.then_some(Trouble::Refuse(error))
    });
    let failed = import(&a, &b, &answer).await.unwrap();
    let detail = failed.pairs[0].detail.clone().unwrap();
    assert!(detail.contains("epoch 2 stays open"), "{detail}");
    assert!(a.status("trunk-1").epoch(Epoch(2)).is_some_and(|epoch| epoch.inbound.is_some()));
    let done = import(&a, &b, &answer).await.unwrap();
    assert_eq!(done.state, OperationState::Done, "{done:?}");
    assert_eq!(a.status("trunk-1").active, Some(Epoch(2)));
}

#[tokio::test]
async fn a_file_played_back_does_not_bring_old_keys_back_into_use() {
    let (a, b) = pair_of_sites("played-back").await;
    let (at_a, at_b) = without_peer();
    a.define(at_a).await;
    b.define(at_b).await;
    let first = export(&a, &b).await.unwrap().file;
    import(&b, &a, &first).await.unwrap();
    let answer = reply(&b, &a).await;
    import(&a, &b, &answer).await.unwrap();
    // Only there has a packet come: here the old keys stay, for what may still come under them.
    heard(&a, 1);
    heard(&b, 1);
    let second = export(&a, &b).await.unwrap();
    assert_eq!(second.epoch, Epoch(2));
    import(&b, &a, &second.file).await.unwrap();
    assert_eq!(b.status("trunk-1").epochs.len(), 2);
    let refused = import(&b, &a, &first).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::WrongFile);
    assert!(refused.message.contains("for epoch 1, and epoch 2 is in use"), "{refused:?}");
    assert_eq!(b.status("trunk-1").active, Some(Epoch(2)));
}

/// What the one that imported first sends back.
async fn reply(from: &Site, to: &Site) -> String {
    export(from, to).await.unwrap().file
}

/// A packet came under this epoch.
fn heard(site: &Site, epoch: u64) {
    site.model.with(|state| {
        let pair = state.pairs.values_mut().next().unwrap();
        if let Some(keys) = pair.epochs.get_mut(&Epoch(epoch)) {
            keys.opened = 1;
        }
    });
}

#[tokio::test]
async fn a_file_from_or_for_somebody_else_changes_nothing() {
    let (a, b) = pair_of_sites("wrong-file").await;
    let (at_a, at_b) = without_peer();
    a.define(at_a).await;
    b.define(at_b).await;
    let file = export(&a, &b).await.unwrap().file;
    let before = (a.changes(), b.changes());
    let own = import(&a, &a, &file).await.unwrap_err();
    assert_eq!(own.code, ErrorCode::WrongFile);
    assert!(own.message.starts_with("it is sealed to "), "{own:?}");
    assert!(own.hint.contains("prints here"), "{own:?}");
    let stranger = import(&b, &b, &file).await.unwrap_err();
    assert!(stranger.message.starts_with("it is from "), "{stranger:?}");
    assert!(stranger.hint.contains("--from"), "{stranger:?}");
    let request = ExportRequest { recipient: "garbage".to_owned(), new: false };
    let at_path = location(path::EXPORT, &["trunk-1"]);
    let answer = a.client.post::<_, ExchangeFile>(&at_path, &request).await;
    let Err(ClientError::Refused(garbage)) = answer else { panic!("{answer:?}") };
    assert!(garbage.hint.contains("--to"), "{garbage:?}");
    let cut = import(&b, &a, &file[..file.len() / 2]).await.unwrap_err();
    assert_eq!(cut.code, ErrorCode::WrongFile);
    assert_eq!((a.changes(), b.changes()), before);
}

fn offer(spi: u32, fill: u8) -> KeyOffer {
    let bytes = vec![fill; Aead::Aes256Gcm.key_len() + Aead::SALT_LEN];
    let keying = KeyingMaterial::new(Aead::Aes256Gcm, SecretKey::copy_from(&bytes)).unwrap();
    KeyOffer::new(Spi::new(spi).unwrap(), &keying)
}

#[tokio::test]
async fn keys_that_people_agreed_on_are_put_in_place() {
    let (a, _b) = pair_of_sites("manual").await;
    let (pair, _) = without_peer();
    let keys = || ManualKeys { inbound: offer(300, 1), outbound: offer(301, 2) };
    let add = AddSa { pair: pair.clone(), keys: Some(keys()) };
    let started: OperationStarted = a.client.post(path::SAS, &add).await.unwrap();
    assert_eq!(a.end_of(&started).await.state, OperationState::Done);
    let status = a.status("trunk-1");
    let epoch = status.epoch(status.active.unwrap()).unwrap();
    assert_eq!(epoch.inbound.as_ref().unwrap().spi.value(), 300);
    assert_eq!(epoch.outbound.as_ref().unwrap().spi.value(), 301);

    let mut short = AddSa { pair, keys: Some(keys()) };
    short.pair.aead = Aead::Aes128Gcm;
    let answer = a.client.post::<_, OperationStarted>(path::SAS, &short).await;
    let Err(ClientError::Refused(error)) = answer else { panic!("{answer:?}") };
    assert!(error.message.contains("keys.inbound is for aes-256-gcm"), "{error:?}");
}

#[tokio::test]
async fn a_pair_in_use_is_not_forgotten_because_the_agent_could_not_show_it_once() {
    let (a, _b) = pair_of_sites("not-shown").await;
    let (pair, _) = without_peer();
    let add = |spi: u32, fill: u8| {
        let keys = ManualKeys { inbound: offer(spi, fill), outbound: offer(spi + 1, fill + 1) };
        AddSa { pair: pair.clone(), keys: Some(keys) }
    };
    let started: OperationStarted = a.client.post(path::SAS, &add(300, 1)).await.unwrap();
    assert_eq!(a.end_of(&started).await.state, OperationState::Done);
    let mut shown = 0;
    a.model.fail(move |request| {
        let error = AgentError {
            code: AgentErrorCode::Engine(ErrorClass::Fatal),
            message: "no room on the disk".to_owned(),
            place: "state".to_owned(),
            hint: None,
        };
        shown += u32::from(matches!(request, Request::Show { .. }));
        let fails = shown == 1 || matches!(request, Request::Prepare { .. });
        fails.then_some(Trouble::Refuse(error))
    });
    let answer = a.client.post::<_, OperationStarted>(path::SAS, &add(400, 3)).await;
    if let Ok(started) = &answer {
        a.end_of(started).await;
    }
    let Err(ClientError::Refused(error)) = answer else { panic!("{answer:?}") };
    assert!(error.message.contains("no room on the disk"), "{error:?}");
    assert_eq!(a.status("trunk-1").active, Some(Epoch(1)));
}
