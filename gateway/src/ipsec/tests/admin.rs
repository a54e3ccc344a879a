//! Each path of the admin API, and how it says no.

use admin_client::{ClientError, location};
use crypto_offload::{Capabilities, PairName};
use gateway_control::{
    AddSa, ApiError, ErrorCode, ForeignList, OperationStarted, OperationState, PairList,
    PairSelection, PairStatus, PlanReport, RotationLog, RotationPlan, RotationRequest, path,
};

use super::site::{Site, ends, keyed, pair_of_sites};

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> ApiError {
    match answer.unwrap_err() {
        ClientError::Refused(error) => error,
        other => panic!("{other}"),
    }
}

fn rotation(pairs: PairSelection, dry_run: bool) -> RotationRequest {
    RotationRequest { pairs, dry_run, requested_by: None }
}

fn name(text: &str) -> PairName {
    PairName::new(text).unwrap()
}

async fn add(site: &Site, add: &AddSa) -> Result<serde_json::Value, ClientError> {
    site.client.post(path::SAS, add).await
}

#[tokio::test]
async fn a_pair_is_added_with_its_first_keys_shown_listed_and_removed() {
    let (a, b) = pair_of_sites("add").await;
    let (at_a, at_b) = ends("trunk-1", 1);
    b.define(at_b).await;
    let answer = add(&a, &AddSa { pair: at_a, keys: None }).await.unwrap();
    let started: OperationStarted = serde_json::from_value(answer).unwrap();
    assert_eq!(a.end_of(&started).await.state, OperationState::Done);
    let shown: PairStatus = a.client.get(&location(path::SA, &["trunk-1"])).await.unwrap();
    assert_eq!(shown, a.status("trunk-1"));
    a.client.delete::<()>(&location(path::SA, &["trunk-1"])).await.unwrap();
    let gone = refused(a.client.delete::<()>(&location(path::SA, &["trunk-1"])).await);
    assert_eq!(gone.code, ErrorCode::UnknownPair);
    assert_eq!(gone.place, "trunk-1");
}

#[tokio::test]
async fn a_list_goes_on_where_the_page_before_ended() {
    let (a, _b) = pair_of_sites("list").await;
    for number in 0..25 {
        a.define(ends(&format!("trunk-{number:02}"), number).0).await;
    }
    let all: PairList = a.client.get(path::SAS).await.unwrap();
    assert_eq!((all.pairs.len(), all.total, all.more), (25, 25, false));
    let page: PairList =
        a.client.get(&format!("{}?after=trunk-09&limit=10", path::SAS)).await.unwrap();
    assert_eq!((page.pairs.len(), page.more), (10, true));
    assert_eq!(page.pairs[0].pair.name, name("trunk-10"));
}

#[tokio::test]
async fn a_dry_run_tells_the_steps_and_changes_nothing() {
    let (a, b) = keyed("dry").await;
    let before = (a.changes(), b.changes());
    let plan: RotationPlan =
        a.client.post(path::ROTATIONS, &rotation(PairSelection::All, true)).await.unwrap();
    assert_eq!((plan.pairs[0].from.unwrap().0, plan.pairs[0].to.0), (1, 2));
    let steps: Vec<_> = plan.pairs[0].steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!((steps[0], steps.len()), ("prepare", 9));
    assert_eq!((a.changes(), b.changes()), before);
}

#[tokio::test]
async fn a_request_repeated_under_its_key_is_done_once() {
    let (a, _b) = keyed("key").await;
    let request = rotation(PairSelection::Name(name("trunk-1")), false);
    let post = async |body: &RotationRequest, key: &str| -> Result<OperationStarted, _> {
        a.client.post_once(path::ROTATIONS, body, key).await
    };
    let first = post(&request, "k1").await.unwrap();
    assert_eq!(post(&request, "k1").await.unwrap(), first);
    let misused = refused(post(&rotation(PairSelection::All, false), "k1").await);
    assert_eq!(misused.code, ErrorCode::Conflict);
    assert_eq!(a.end_of(&first).await.state, OperationState::Done);
    let log: RotationLog = a.client.get(path::ROTATIONS).await.unwrap();
    assert_eq!(log.rotations.len(), 2, "the first keys, and this one");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_what_would_mend_it() {
    let (a, _b) = keyed("no").await;
    let rotate = async |pairs| -> ApiError {
        let answer = a.client.post(path::ROTATIONS, &rotation(pairs, false)).await;
        refused::<OperationStarted>(answer)
    };
    let unknown = rotate(PairSelection::Name(name("trunk-9"))).await;
    assert_eq!((unknown.code, unknown.place.as_str()), (ErrorCode::UnknownPair, "trunk-9"));
    let empty = rotate(PairSelection::Group("nobody".to_owned())).await;
    assert_eq!(empty.message, "there is no such pair");
    assert_eq!(empty.place, "group nobody");

    let (mut pair, _) = ends("trunk-2", 2);
    pair.peer = Some("z".to_owned());
    let refusal = refused(add(&a, &AddSa { pair: pair.clone(), keys: None }).await);
    assert!(refusal.message.contains("no [[ipsec.peer]] is named \"z\""), "{refusal:?}");
    pair.peer = None;
    pair.replay_window = 0;
    let refusal = refused(add(&a, &AddSa { pair, keys: None }).await);
    assert!(refusal.message.contains("replay_window 0"), "{refusal:?}");

    let answer = a.client.post::<_, PlanReport>(path::PLAN, &serde_json::json!({"nam": 1})).await;
    let refusal = refused(answer);
    assert_eq!((refusal.code, refusal.place.as_str()), (ErrorCode::BadParameter, path::PLAN));
    let refusal = refused(a.client.operation("9-9", 0, std::time::Duration::ZERO).await);
    assert_eq!(refusal.code, ErrorCode::UnknownOperation);
    // An operator is no peer.
    let at = location(path::PEER, &["trunk-1", "2", "status"]);
    assert_eq!(refused(a.client.get::<PairStatus>(&at).await).code, ErrorCode::Forbidden);
}

#[tokio::test]
async fn engines_plans_and_foreign_sas_are_the_agents_answers() {
    let (a, _b) = pair_of_sites("reads").await;
    let engines: Vec<(String, Capabilities)> = a.client.get(path::CAPABILITIES).await.unwrap();
    assert_eq!(engines[0].0, "user-space");
    let again: Vec<(String, Capabilities)> = a.client.post(path::CAPABILITIES, &()).await.unwrap();
    assert_eq!(again, engines);
    let plan: PlanReport = a.client.post(path::PLAN, &ends("trunk-1", 1).0).await.unwrap();
    assert_eq!(plan.name, name("trunk-1"));
    let foreign: ForeignList = a.client.get(path::FOREIGN_SAS).await.unwrap();
    assert!(foreign.sas.is_empty() && !foreign.more);
    let page = format!("{}?after=nonsense", path::FOREIGN_SAS);
    assert_eq!(refused(a.client.get::<ForeignList>(&page).await).code, ErrorCode::BadParameter);
    assert!(a.changes().iter().all(|asked| asked == "probe"), "{:?}", a.changes());
}

#[tokio::test]
async fn without_its_agent_a_gateway_says_where_it_looked() {
    let (mut a, _b) = pair_of_sites("absent").await;
    a.run = None;
    let refusal = refused(a.client.get::<PairList>(path::SAS).await);
    assert_eq!(refusal.code, ErrorCode::AgentAbsent);
    assert!(refusal.message.contains(&a.model.path().display().to_string()), "{refusal:?}");
    assert!(refusal.hint.contains("ipsec.agent"), "{refusal:?}");
}
