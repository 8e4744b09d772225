//! The page and its files, from inside the binary: no path of the file system is
//! ever made from a request.

use actix_web::http::header::{self, EntityTag, Header as _, IfNoneMatch};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

use super::problem::Problem;

#[derive(RustEmbed)]
#[folder = "static/"]
#[exclude = ".*"]
#[exclude = "*.sh"]
#[exclude = "*.sha256"]
struct Files;

/// `GET /`: the page. Without the slash at the end its relative links would miss, so
/// then the browser is sent there.
///
/// # Errors
/// `NotFound` in a build without the page.
pub async fn page(request: HttpRequest) -> Result<HttpResponse, Problem> {
    match request.path().rsplit_once('/') {
        Some((_, last)) if !last.is_empty() => Ok(HttpResponse::PermanentRedirect()
            .insert_header((header::LOCATION, format!("{last}/")))
            .finish()),
        _ => serve(&request, "index.html"),
    }
}

/// `GET /static/{path}`.
///
/// # Errors
/// `NotFound`.
pub async fn asset(request: HttpRequest, path: Path<String>) -> Result<HttpResponse, Problem> {
    serve(&request, &path)
}

/// Browsers keep files and ask each time whether they changed.
fn serve(request: &HttpRequest, path: &str) -> Result<HttpResponse, Problem> {
    let file = Files::get(path).ok_or_else(|| Problem::NotFound("no such file".into()))?;
    let hash = file.metadata.sha256_hash();
    let tag = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let tag = EntityTag::new_strong(tag);
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        Err(_) => false,
    };
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header(header::ETag(tag)).insert_header((header::CACHE_CONTROL, "no-cache"));
    if known {
        return Ok(response.finish());
    }
    Ok(response.content_type(content_type(path)).body(file.data.into_owned()))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}
