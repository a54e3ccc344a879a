//! Audio and video of one party over one transport (BUNDLE, RFC 9143), each section with sockets of
//! its own at the plain far end.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::abroad::Abroad;
use crate::aiortc::{self, Aiortc};
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer, towards_webrtc};
use crate::far::Kind;
use crate::ng;
use crate::party::Party;
use crate::relay::Relay;
use crate::scene::{TARGET, demand, wait_for};

#[test]
fn a_browser_bundles_audio_and_video_under_either_policy() {
    demand("chromium_bundled", PROGRAMS, |scene| {
        let abroad = Abroad::new()?;
        let running = Relay::Ours.start(scene)?;
        let browser = Browser::start(scene, &abroad)?;
        let mut parties = [
            ("balanced-calls", Offerer::Party, "balanced"),
            ("max-bundle-calls", Offerer::Party, "max-bundle"),
            ("balanced-called", Offerer::Far, "balanced"),
            ("max-bundle-called", Offerer::Far, "max-bundle"),
        ]
        .map(|(name, offerer, policy)| {
            (name, offerer, Bundling { party: browser.call(name), policy })
        });
        let mut calls = Vec::new();
        for (name, offerer, party) in &mut parties {
            calls.push(set_up(name, party, *offerer)?);
        }
        thread::sleep(A_WHILE);
        for call in &mut calls {
            call.mute(true)?;
            call.mute(false)?;
            call.restart()?;
        }
        thread::sleep(A_WHILE);
        let mut done = calls.into_iter().map(Call::demand_flawless);
        done.try_for_each(|done| done.with_context(|| running.dropped()))
    });
}

#[test]
fn aiortc_bundles_audio_and_video_as_caller_and_as_callee() {
    let name = "aiortc_bundled";
    let python = match aiortc::python() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED {TARGET}::{name}: {reason:#}"),
    };
    demand(name, &["python3"], |scene| {
        let abroad = Abroad::new()?;
        let running = Relay::Ours.start(scene)?;
        let aiortc = Aiortc::start(scene, &abroad, &python)?;
        let mut parties = [("calls", Offerer::Party), ("called", Offerer::Far)]
            .map(|(name, offerer)| (name, offerer, aiortc.call(name)));
        let mut calls = Vec::new();
        for (name, offerer, party) in &mut parties {
            calls.push(set_up(name, party, *offerer)?);
        }
        thread::sleep(A_WHILE);
        let mut done = calls.into_iter().map(Call::demand_flawless);
        done.try_for_each(|done| done.with_context(|| running.dropped()))
    });
}

/// Their retransmissions, header extensions and feedback are their own: what one has lost by its
/// reckoning, and what the relay had no way for, is all there is to count.
#[test]
fn two_browsers_that_bundle_lose_nothing_between_them() {
    demand("chromium_bundled_both", PROGRAMS, |scene| {
        let abroad = Abroad::new()?;
        let running = Relay::Ours.start(scene)?;
        let browser = Browser::start(scene, &abroad)?;
        let (mut one, mut other) = (browser.call("one"), browser.call("other"));
        let [caller, callee]: [&mut dyn Party; 2] = [&mut one, &mut other];
        let (options, none) = (towards_webrtc(Relay::Ours, Dtls::Default), json!({}));
        let offer = signal("offer", &caller.offer(&[Kind::Audio, Kind::Video])?, options)?;
        let answer = signal("answer", &callee.answer(&offer)?, none)?;
        caller.accept(&answer)?;
        let parties = [caller, callee];
        for party in parties {
            wait_for("connection", || Ok((party.state()? == "connected").then_some(())))?;
        }
        thread::sleep(A_WHILE * 2);
        for party in [&mut one as &mut dyn Party, &mut other] {
            let counts = party.counts()?;
            println!("{counts:?}");
            ensure!(counts.len() == 2, "{counts:?}");
            ensure!(counts.iter().all(|count| count.received > 20 && count.lost == 0));
            ensure!(counts[0].energy.is_some_and(|energy| energy > 0.0), "no sound");
        }
        let dropped = running.dropped();
        println!("{dropped}");
        ensure!(!dropped.contains("no_route") && !dropped.contains("ssrc_collision"), "{dropped}");
        Ok(())
    });
}

/// One request of a call between two parties that both speak WebRTC.
fn signal(command: &str, sdp: &str, options: Value) -> Result<String> {
    let mut request = options;
    request["command"] = command.into();
    request["call-id"] = "both".into();
    request["from-tag"] = "one".into();
    if command == "answer" {
        request["to-tag"] = "other".into();
    }
    request["replace"] = json!(["origin"]);
    request["sdp"] = sdp.into();
    let reply = ng::ask(&request)?;
    Ok(reply["sdp"].as_str().with_context(|| reply.to_string())?.to_owned())
}

/// A call of audio and video that the relay says is bundled.
fn set_up<'a>(name: &str, party: &'a mut dyn Party, offerer: Offerer) -> Result<Call<'a>> {
    let kinds = &[Kind::Audio, Kind::Video];
    let call = Call::set_up(name, Relay::Ours, party, offerer, kinds, Dtls::Default)
        .with_context(|| name.to_owned())?;
    let said = call.query()?.to_string();
    ensure!(said.matches("\"bundled\"").count() == 1, "{name}: {said}");
    Ok(call)
}

/// A party that is told how to bundle.
struct Bundling<P> {
    party: P,
    policy: &'static str,
}

impl<P: Party> Party for Bundling<P> {
    fn ask(&mut self, verb: &str, mut argument: Value) -> Result<Value> {
        if matches!(verb, "offer" | "answer") {
            argument["policy"] = self.policy.into();
        }
        self.party.ask(verb, argument)
    }
}

const A_WHILE: Duration = Duration::from_secs(3);
