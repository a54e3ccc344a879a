//! `Idempotency-Key`: a request that is repeated under its key, because its answer was lost, is
//! answered as it was and not done again.
//!
//! Answers are kept in memory and bounded. What makes repetition harmless beyond a restart is that
//! every step behind is idempotent by pair and epoch.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gateway_control::{ApiError, ErrorCode};
use ring::digest;

use super::refusal::Refusal;

/// The HTTP header.
pub(crate) const HEADER: &str = "idempotency-key";

/// Answers by key; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    by_key: HashMap<String, Entry>,
    order: VecDeque<String>,
}

/// Held while the request is under way, so that its repetition waits for the answer.
type Entry = Arc<tokio::sync::Mutex<Option<Answer>>>;

#[derive(Clone)]
struct Answer {
    /// Of method, path and body: the key was used for this and nothing else.
    request: [u8; 32],
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Middleware for every route; only requests that change something and carry a key are touched.
pub(crate) async fn remember(
    State(answers): State<Answers>,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.headers().get(HEADER).cloned() {
        Some(key) if !reads => match answered(&answers, &key, request, next).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        },
        _ => next.run(request).await,
    }
}

async fn answered(
    answers: &Answers,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let key = key.to_str().ok().filter(|key| (1..=LONGEST_KEY).contains(&key.len()));
    let key = key.ok_or_else(|| bad(ErrorCode::BadParameter, "not 1 to 255 ASCII characters"))?;
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LARGEST_BODY)
        .await
        .map_err(|_| bad(ErrorCode::BadParameter, "the request's body cannot be read"))?;
    let fingerprint = fingerprint(&parts.method, parts.uri.path(), &body);
    let entry = answers.entry(key);
    let mut held = entry.lock().await;
    if let Some(answer) = &*held {
        return match answer.request == fingerprint {
            true => Ok(answer.clone().into_response()),
            false => Err(bad(ErrorCode::Conflict, "this key was used for another request")),
        };
    }
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .map_err(|_| bad(ErrorCode::Unavailable, "the answer was lost: ask again"))?;
    let (status, headers) = (parts.status, parts.headers);
    let answer = Answer { request: fingerprint, status, headers, body };
    // What we could not do now may well be done when it is asked again.
    if !answer.status.is_server_error() {
        *held = Some(answer.clone());
    }
    Ok(answer.into_response())
}

impl Answers {
    fn entry(&self, key: &str) -> Entry {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = kept.by_key.get(key) {
            return Arc::clone(entry);
        }
        if kept.order.len() == KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_key.remove(&oldest);
        }
        let entry = Entry::default();
        kept.by_key.insert(key.to_owned(), Arc::clone(&entry));
        kept.order.push_back(key.to_owned());
        entry
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status, self.headers, self.body).into_response()
    }
}

/// The body may be a key: only its hash is kept.
fn fingerprint(method: &Method, path: &str, body: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [method.as_str().as_bytes(), path.as_bytes(), body] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let hash = context.finish();
    std::array::from_fn(|at| hash.as_ref()[at])
}

fn bad(code: ErrorCode, message: &str) -> Refusal {
    Refusal(ApiError {
        code,
        message: message.to_owned(),
        place: format!("header {HEADER}"),
        hint: "use a new random key for each new request".to_owned(),
    })
}

/// Answers kept; the oldest go first.
const KEPT: usize = 1024;

const LONGEST_KEY: usize = 255;

/// Far above any request.
pub(crate) const LARGEST_BODY: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_path_and_body_make_the_request() {
        let of = |method, path, body: &str| fingerprint(&method, path, body.as_bytes());
        let first = of(Method::POST, "/v1/sas", "{}");
        assert_eq!(first, of(Method::POST, "/v1/sas", "{}"));
        assert_ne!(first, of(Method::DELETE, "/v1/sas", "{}"));
        assert_ne!(first, of(Method::POST, "/v1/sas{}", ""));
    }

    #[test]
    fn the_oldest_answers_are_forgotten() {
        let answers = Answers::default();
        let first = answers.entry("0");
        assert!(Arc::ptr_eq(&first, &answers.entry("0")));
        for number in 1..=KEPT {
            answers.entry(&number.to_string());
        }
        assert!(!Arc::ptr_eq(&first, &answers.entry("0")));
    }
}
