//! Files of the page, compiled in.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

pub(super) async fn send(Path(name): Path<String>) -> Result<Response, Problem> {
    let (kind, content) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", include_str!("assets/style.css")),
        "page.js" => ("text/javascript; charset=utf-8", include_str!("assets/page.js")),
        // uPlot 1.6.32, https://github.com/leeoniya/uPlot, MIT (uPlot.LICENSE).
        "uPlot.js" => ("text/javascript; charset=utf-8", include_str!("assets/uPlot.iife.min.js")),
        "uPlot.css" => ("text/css; charset=utf-8", include_str!("assets/uPlot.min.css")),
        _ => return Err(Problem::NotFound("there is no such file".into())),
    };
    // A newer version of the program may have other files under these names.
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content).into_response())
}
