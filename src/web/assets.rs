//! The page and its files, from inside the binary: no path of the file system is
//! ever made from a request.
//!
//! The page names its files below a folder that changes with them (`static/v-<hash>/`),
//! so a browser may keep them for ever and still never sees an old one.

use std::collections::HashMap;
use std::sync::OnceLock;

use actix_web::http::header;
use actix_web::web::{self, Bytes, Path};
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use rust_embed::RustEmbed;

use super::answer::Text;
use super::problem::Problem;
use crate::domain::hash::fingerprint;

#[derive(RustEmbed)]
#[folder = "static/"]
#[exclude = ".*"]
#[exclude = "*.sh"]
#[exclude = "*.sha256"]
struct Files;

/// What programs read about these routes.
const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// Ask each time whether it changed.
const ASK: &str = "no-cache";

/// Keep it: another version has another path.
const KEEP: &str = "public, max-age=31536000, immutable";

/// The folder of a version begins so.
const VERSION_PREFIX: &str = "v-";

/// Everything that is served, read and compressed once.
struct Shelf {
    /// Changes when any file does.
    version: String,
    files: HashMap<String, Text>,
    page: Option<Text>,
    openapi: Text,
}

static SHELF: OnceLock<Shelf> = OnceLock::new();

/// The first request waits some 20 ms, on a thread of its own.
async fn shelf() -> Result<&'static Shelf, Problem> {
    match SHELF.get() {
        Some(shelf) => Ok(shelf),
        None => Ok(web::block(|| SHELF.get_or_init(Shelf::fill)).await?),
    }
}

impl Shelf {
    fn fill() -> Shelf {
        let mut paths: Vec<String> = Files::iter().map(String::from).collect();
        paths.sort_unstable();
        let files: Vec<(String, Bytes)> = paths
            .into_iter()
            .filter_map(|path| {
                let data = match Files::get(&path)?.data {
                    std::borrow::Cow::Borrowed(data) => Bytes::from_static(data),
                    std::borrow::Cow::Owned(data) => data.into(),
                };
                Some((path, data))
            })
            .collect();
        let mut hashes = Vec::with_capacity(files.len() * 8);
        for (path, data) in &files {
            hashes.extend(fingerprint(path.as_bytes()).to_le_bytes());
            hashes.extend(fingerprint(data).to_le_bytes());
        }
        let version = format!("{VERSION_PREFIX}{:016x}", fingerprint(&hashes));
        let page = files.iter().find(|(path, _)| path == "index.html").map(|(_, page)| {
            let page = String::from_utf8_lossy(page);
            // Only the page's own links: what scripts ask for lies beside them.
            let page = page.replace("=\"static/", &format!("=\"static/{version}/"));
            Text::compressed(page, Compression::best())
        });
        let text = |data: Bytes| Text::compressed(data, Compression::best());
        Shelf {
            version,
            files: files.into_iter().map(|(path, data)| (path, text(data))).collect(),
            page,
            openapi: text(Bytes::from_static(OPENAPI.as_bytes())),
        }
    }
}

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
        _ => {
            let page = shelf().await?.page.as_ref().ok_or_else(missing)?;
            Ok(page.answer(&request, "text/html; charset=utf-8", ASK))
        }
    }
}

/// `GET /static/{path}`, with or without the folder of a version before the path.
///
/// # Errors
/// `NotFound`.
pub async fn asset(request: HttpRequest, path: Path<String>) -> Result<HttpResponse, Problem> {
    let shelf = shelf().await?;
    let (version, file) = match path.split_once('/') {
        Some((version, file)) if version.starts_with(VERSION_PREFIX) => (Some(version), file),
        _ => (None, path.as_str()),
    };
    let text = shelf.files.get(file).ok_or_else(missing)?;
    // A page of another version gets what there is, and asks again the next time.
    let cache = if version == Some(shelf.version.as_str()) { KEEP } else { ASK };
    Ok(text.answer(&request, content_type(file), cache))
}

/// `GET /v1/openapi.json`: all routes, for programs.
///
/// # Errors
/// Never, but for a failure of the server.
pub async fn openapi(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Ok(shelf().await?.openapi.answer(&request, "application/json", ASK))
}

fn missing() -> Problem {
    Problem::NotFound("no such file".into())
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
