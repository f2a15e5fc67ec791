//! What the page says when it cannot do what was asked.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{Root, bare_page};
use crate::error::Error;

#[derive(Debug)]
pub(super) enum Problem {
    NotFound(String),
    /// The request is not allowed, or cannot be understood.
    Refused(String),
    Coordinator(Error),
}

/// The text of a problem, for [`in_page`].
#[derive(Debug, Clone)]
struct Text(String);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::NotFound(error.to_string()),
            error => Self::Coordinator(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::NotFound(message) => (StatusCode::NOT_FOUND, message),
            Self::Refused(message) => (StatusCode::FORBIDDEN, message),
            Self::Coordinator(error @ (Error::WrongState(_) | Error::BadField { .. })) => {
                (StatusCode::CONFLICT, error.to_string())
            }
            Self::Coordinator(error @ (Error::Busy(_) | Error::Unavailable(_))) => {
                (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            Self::Coordinator(error) => {
                tracing::error!("the page: {error}");
                (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
            }
        };
        let mut response = status.into_response();
        response.extensions_mut().insert(Text(message));
        response
    }
}

/// Puts the text of a problem into a page. Handlers do not know how deep they are, and so where the style is.
pub(super) fn in_page(root: Root<'_>, response: Response) -> Response {
    let Some(Text(message)) = response.extensions().get().cloned() else { return response };
    let content: Markup = html! { h1 { "This did not work" } p { (message) } };
    (response.status(), bare_page(root, "Problem", &content)).into_response()
}

pub(super) async fn no_page() -> Problem {
    Problem::NotFound("there is no such page".into())
}
