//! `keymgr srtp rekey`: switches legs to keys that their parties know, and marks others for new ones.

use gateway_control::{SrtpRekeyReport, SrtpRekeyRequest, SrtpRekeyResult, SrtpRekeyed, path};

use crate::{
    Failure, cli,
    gateway::Gateway,
    output,
    table::{print, table},
};

use super::list::own_keys;

pub(super) async fn rekey(gateway: &Gateway, asked: &cli::Rekey) -> Result<(), Failure> {
    let report = all(gateway, asked).await?;
    match gateway.json() {
        true => crate::print_json(&report)?,
        false => show(&report.legs, asked)?,
    }
    match count(&report.legs, SrtpRekeyResult::NotPossible) {
        0 => Ok(()),
        legs => Err(Failure::undone(format!("new keys are not possible for {legs} legs"))),
    }
}

/// Page by page: a call's legs are done quickly, all of them at once would keep signalling waiting.
async fn all(gateway: &Gateway, asked: &cli::Rekey) -> Result<SrtpRekeyReport, Failure> {
    let mut request = SrtpRekeyRequest {
        call_id: asked.call.clone(),
        tag: asked.tag.clone(),
        all: asked.all,
        older_than_seconds: asked.older_than,
        dry_run: asked.dry_run,
        after: None,
    };
    let mut whole = SrtpRekeyReport::default();
    loop {
        let page: SrtpRekeyReport = gateway.post(path::SRTP_REKEY, &request).await?;
        whole.legs.extend(page.legs);
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(whole),
        }
    }
}

fn show(legs: &[SrtpRekeyed], asked: &cli::Rekey) -> Result<(), Failure> {
    let mut lines = table(["CALL", "STREAM", "TAG", "MEDIA", "RESULT", "MKI", "HOW"]);
    for leg in legs {
        lines.add_row([
            leg.call_id.clone(),
            leg.stream.to_string(),
            leg.tag.clone().unwrap_or_else(|| "-".to_owned()),
            leg.media.to_string(),
            leg.result.name().to_owned(),
            own_keys(leg.own_keys),
            leg.reason.clone(),
        ]);
    }
    if !legs.is_empty() {
        print(&lines)?;
    }
    output::line(said(legs, asked.dry_run))
}

fn said(legs: &[SrtpRekeyed], dry_run: bool) -> String {
    let [switched, marked, before, not_possible] = [
        SrtpRekeyResult::Switched,
        SrtpRekeyResult::Marked,
        SrtpRekeyResult::AlreadyMarked,
        SrtpRekeyResult::NotPossible,
    ]
    .map(|result| count(legs, result));
    let (would, end) = if dry_run { ("would be ", "; nothing was changed") } else { ("", "") };
    format!(
        "{switched} legs {would}switched to their next key, {marked} {would}marked, {before} marked \
         before, {not_possible} not possible{end}"
    )
}

fn count(legs: &[SrtpRekeyed], result: SrtpRekeyResult) -> usize {
    legs.iter().filter(|leg| leg.result == result).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_are_counted_by_what_became_of_them() {
        let leg = |result| SrtpRekeyed {
            call_id: "c".to_owned(),
            stream: 0,
            tag: None,
            media: 1,
            result,
            own_keys: None,
            reason: String::new(),
        };
        let legs = [SrtpRekeyResult::Marked, SrtpRekeyResult::NotPossible].map(leg);
        assert_eq!(
            said(&legs, false),
            "0 legs switched to their next key, 1 marked, 0 marked before, 1 not possible"
        );
        let switched = [SrtpRekeyResult::Switched; 2].map(leg);
        assert_eq!(
            said(&switched, true),
            "2 legs would be switched to their next key, 0 would be marked, 0 marked before, 0 not \
             possible; nothing was changed"
        );
    }
}
