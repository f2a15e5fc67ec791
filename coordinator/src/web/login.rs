//! Logging in with a token, and out.

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use fivefold_common::role::Role;
use maud::{Markup, html};
use serde::Deserialize;

use super::Page;
use super::gate::{cookie_name, session_id};
use super::layout::{TOP, bare_page};
use super::problem::Problem;
use crate::access::token_hash;

/// How long a browser keeps its session, in seconds: thirty days.
const SESSION_SECONDS: u32 = 30 * 24 * 3600;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// The path of the page to go to.
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn show(Query(wanted): Query<Wanted>) -> Markup {
    form(&wanted.next, None)
}

fn form(next: &str, problem: Option<&str>) -> Markup {
    let content = html! {
        h1 { "Log in" }
        p { "Paste a token with the role " code { "user" } " or " code { "read-only" } ". The administrator of the coordinator makes \
             one with " code { "fivefold-coordinator token create" } "." }
        @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
        form method="post" action="login" {
            label { "Token " input type="password" name="token" autocomplete="current-password" required autofocus; }
            input type="hidden" name="next" value=(next);
            button { "Log in" }
        }
    };
    bare_page(TOP, "Log in", &content)
}

pub(super) async fn enter(
    State(page): State<Page>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Result<Response, Problem> {
    let hash = token_hash(login.token.trim());
    let problem = match page.guard.role_of(hash) {
        Some(Role::User | Role::ReadOnly) => None,
        Some(Role::Worker) => Some("This is a worker's token. The page needs one with the role user or read-only."),
        None => Some("This token is unknown or was revoked."),
    };
    if problem.is_some() {
        return Ok(form(&login.next, problem).into_response());
    }
    let failed = |_| Problem::Refused("the system has no random numbers".into());
    let id = page.sessions.open(hash).map_err(failed)?;
    let mut response = Redirect::to(&checked(&login.next)).into_response();
    set_cookie(&headers, &mut response, &id, SESSION_SECONDS);
    Ok(response)
}

pub(super) async fn leave(State(page): State<Page>, headers: HeaderMap) -> Response {
    if let Some(id) = session_id(&headers) {
        page.sessions.close(id);
    }
    let mut response = Redirect::to("./login").into_response();
    set_cookie(&headers, &mut response, "", 0);
    response
}

fn set_cookie(headers: &HeaderMap, response: &mut Response, id: &str, seconds: u32) {
    let name = cookie_name(headers);
    let cookie = format!("{name}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}

/// The page to go to, if it is one of ours; otherwise the list.
fn checked(next: &str) -> String {
    let is_path = next
        .split('/')
        .all(|part| !part.is_empty() && part.chars().all(|char| char.is_ascii_alphanumeric() || char == '-'));
    if is_path { format!("./{next}") } else { "./".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_pages_of_ours_alone() {
        assert_eq!(checked("job-sets/js-abcdefgh"), "./job-sets/js-abcdefgh");
        for next in ["", "/evil.example", "//evil.example", "https://evil.example", "..", "a?b", "a\r\nb"] {
            assert_eq!(checked(next), "./", "{next:?}");
        }
    }
}
