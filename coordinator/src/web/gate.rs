//! What every request passes: the right host, no forged form, a session where tokens are needed.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use fivefold_common::role::Role;

use super::Page;
use super::layout::Root;
use super::problem::{self, Problem};
use crate::access::{bearer_token, token_hash};

/// Scripts, styles and connections of the page itself alone, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Who looks at the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Viewer {
    /// No token is needed.
    Anybody,
    Holder {
        token: blake3::Hash,
        role: Role,
    },
}

impl Viewer {
    /// Whether controls are shown and obeyed.
    pub(super) fn may_control(self) -> bool {
        matches!(self, Self::Anybody | Self::Holder { role: Role::User, .. })
    }

    pub(super) fn has_logged_in(self) -> bool {
        matches!(self, Self::Holder { .. })
    }
}

pub(super) async fn check(State(page): State<Page>, mut request: Request, next: Next) -> Response {
    let passed = pass(&page, &request);
    let root = root_of(request.uri().path());
    let mut response = match passed {
        Ok(Pass::Open) => next.run(request).await,
        Ok(Pass::As(viewer)) => {
            request.extensions_mut().insert(viewer);
            next.run(request).await
        }
        Ok(Pass::LogIn) => Redirect::to(&login_path(request.uri())).into_response(),
        Err(problem) => problem.into_response(),
    };
    response = problem::in_page(Root(&root), response);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // By which a client of the coordinator that was given this address tells what it has found.
    headers.insert(header::SERVER, HeaderValue::from_static("fivefold"));
    // Not `no-referrer`, with which browsers send forms without their origin.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

enum Pass {
    /// Needs no session.
    Open,
    As(Viewer),
    LogIn,
}

fn pass(page: &Page, request: &Request) -> Result<Pass, Problem> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_of_this_machine(host) {
        let message = format!("this page is served to browsers of this machine: open http://{}", page.address);
        return Err(Problem::Refused(message));
    }
    if request.method() != Method::GET && request.method() != Method::HEAD && !is_own_form(headers, host) {
        return Err(Problem::Refused("this form did not come from the page itself, so nothing was changed".into()));
    }
    let path = request.uri().path();
    if path == "/login" || path.starts_with("/assets/") {
        return Ok(Pass::Open);
    }
    match viewer(page, headers) {
        Some(viewer) => Ok(Pass::As(viewer)),
        None if path == "/metrics" && is_reader(page, headers) => Ok(Pass::Open),
        None if path == "/metrics" => Err(Problem::Refused(
            "the metrics need a token: give Prometheus one of the role read-only, as a bearer token".into(),
        )),
        None if request.method() == Method::GET => Ok(Pass::LogIn),
        None => Err(Problem::Refused("the session has ended: log in again".into())),
    }
}

/// Who looks at the page; `None` if a token is needed and the browser has no session with a good one.
pub(super) fn viewer(page: &Page, headers: &HeaderMap) -> Option<Viewer> {
    if !page.guard.asks_for_tokens() {
        return Some(Viewer::Anybody);
    }
    let token = page.sessions.token(session_id(headers)?)?;
    match page.guard.role_of(token)? {
        Role::Worker => None,
        role => Some(Viewer::Holder { token, role }),
    }
}

/// Whether a program that is no browser has a token with which it may look.
fn is_reader(page: &Page, headers: &HeaderMap) -> bool {
    let role = bearer_token(headers).and_then(|token| page.guard.role_of(token_hash(token)));
    matches!(role, Some(Role::ReadOnly | Role::User))
}

/// Whether `Host` names this machine itself. Another name leads here if somebody made it point to the loopback address, to
/// have the pages of another site read this one.
fn is_of_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Whether a form was sent by this page: browsers say so, and scripts of other pages cannot change it.
fn is_own_form(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("origin"), text("sec-fetch-site")) {
        (Some(origin), site) => {
            origin.split_once("://").is_some_and(|(_, from)| from == host)
                && site.is_none_or(|site| site == "same-origin")
        }
        (None, site) => site == Some("same-origin"),
    }
}

/// Cookies belong to a host whatever its port, and there may be several coordinators. The port is that of the browser's side,
/// which a tunnel may have chosen.
pub(super) fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port: u16 = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80);
    format!("fivefold_session_{port}")
}

/// The session that the browser names.
pub(super) fn session_id(headers: &HeaderMap) -> Option<&str> {
    let name = cookie_name(headers);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, id)| id)
}

/// The relative path from a page to the top: `.` from `/` and `/workers`, `..` from `/job-sets/ID`.
fn root_of(path: &str) -> String {
    match path.matches('/').count() {
        0 | 1 => ".".to_owned(),
        depth => vec![".."; depth - 1].join("/"),
    }
}

fn login_path(wanted: &Uri) -> String {
    format!("{}/login?next={}", root_of(wanted.path()), wanted.path().trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn other_names_of_this_machine_are_refused() {
        for host in ["localhost:7701", "127.0.0.1:7701", "127.0.0.2:7701", "[::1]:7701", "localhost"] {
            assert!(is_of_this_machine(host), "{host}");
        }
        for host in ["evil.example:7701", "", "127.0.0.1.evil.example", "[::2]:7701"] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }

    #[test]
    fn forms_of_other_pages_are_refused() {
        let host = "localhost:7701";
        let own = headers(&[("origin", "http://localhost:7701"), ("sec-fetch-site", "same-origin")]);
        assert!(is_own_form(&own, host));
        assert!(is_own_form(&headers(&[("origin", "http://localhost:7701")]), host), "an older browser");
        for foreign in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://localhost:8000")],
            &[("origin", "http://localhost:7701"), ("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site")],
            &[],
        ] {
            assert!(!is_own_form(&headers(foreign), host), "{foreign:?}");
        }
    }

    #[test]
    fn the_session_is_found_among_cookies() {
        let found = headers(&[("host", "localhost:7701"), ("cookie", "a=b; fivefold_session_7701=cafe; c=d")]);
        assert_eq!(session_id(&found), Some("cafe"));
        let of_another = headers(&[("host", "localhost:7701"), ("cookie", "fivefold_session_7702=cafe")]);
        assert_eq!(session_id(&of_another), None);
    }

    #[test]
    fn the_login_is_found_from_any_page() {
        for (wanted, path) in [
            ("/", "./login?next="),
            ("/workers", "./login?next=workers"),
            ("/job-sets/js-abcdefgh", "../login?next=job-sets/js-abcdefgh"),
        ] {
            assert_eq!(login_path(&wanted.parse().unwrap()), path);
        }
    }
}
