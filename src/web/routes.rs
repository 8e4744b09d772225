//! Every path with its methods, in one table: what is registered is what is listed, and
//! what is not allowed is answered with what is.

use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, guard, web};

use super::problem::Problem;
use super::{
    assets, board, dry_run, groups, guard as guard_rules, health, incidents, ingest, mailbox,
    nudges, records, reload, sessions, socket,
};

/// One path.
pub struct Entry {
    /// The path, with names in braces.
    pub path: &'static str,
    /// Its methods besides `OPTIONS`, as an `Allow` header has them.
    pub methods: &'static str,
    pub(super) resource: Resource,
}

const GET: &str = "GET, HEAD";
const POST: &str = "POST";
const GET_POST: &str = "GET, HEAD, POST";

/// All paths.
pub fn all() -> Vec<Entry> {
    vec![
        get("", assets::page),
        get("/", assets::page),
        get("/static/{path:.*}", assets::asset),
        get("/livez", health::livez),
        get("/readyz", health::readyz),
        get("/healthz", health::readyz),
        get("/version", health::version),
        get("/metrics", health::metrics),
        get("/v1/openapi.json", assets::openapi),
        get("/v1/ws", socket::open),
        post("/v1/events", ingest::events),
        get("/v1/board", board::snapshot),
        get("/v1/topics", board::topics),
        get("/v1/groups/{metric}", groups::groups),
        get("/v1/sessions/{key:.*}", sessions::session),
        get("/v1/at-risk", sessions::at_risk),
        post("/v1/reload", reload::reload),
        post("/v1/dry-run", dry_run::dry_run),
        get("/v1/alerts", records::alerts),
        get("/v1/alert-log", records::alert_log),
        get("/v1/incidents", incidents::incidents),
        get("/v1/incidents/{id}", incidents::incident),
        post("/v1/incidents/{id}/acknowledge", incidents::acknowledge),
        post("/v1/incidents/{id}/snooze", incidents::snooze),
        get("/v1/incident-log", incidents::log),
        get_post("/v1/silences", incidents::silences, incidents::silence),
        post("/v1/silences/{id}/end", incidents::unsilence),
        get("/v1/notifications", incidents::notifications),
        get("/v1/nudges", nudges::nudges),
        post("/v1/suppressions", nudges::suppress),
        get_post(guard_rules::UNSUBSCRIBE, nudges::ask, nudges::unsubscribe),
        get("/v1/late", records::late),
        get("/v1/dead-letters", records::dead_letters),
        post("/v1/dead-letters/redrive", records::redrive),
        get("/v1/dead-letters/{id}", records::dead_letter),
        get("/v1/dead-letters/{id}/raw", records::dead_letter_raw),
    ]
}

/// The paths of a demo that has a mailbox.
pub(super) fn mailbox() -> Vec<Entry> {
    vec![
        get("/mailbox", mailbox::list),
        get("/mailbox/{key}", mailbox::mail),
        get("/mailbox/{key}/html", mailbox::html),
    ]
}

/// `HEAD` is `GET` without the body (RFC 9110, 9.3.2): the server leaves it out.
fn get<F, Args>(path: &'static str, handler: F) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let reads = guard::Any(guard::Get()).or(guard::Head());
    entry(path, GET, web::route().guard(reads).to(handler))
}

fn post<F, Args>(path: &'static str, handler: F) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    entry(path, POST, web::post().to(handler))
}

fn get_post<F, Args, G, Others>(path: &'static str, reads: F, writes: G) -> Entry
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
    G: Handler<Others>,
    Others: FromRequest + 'static,
    G::Output: Responder + 'static,
{
    let mut entry = get(path, reads);
    entry.methods = GET_POST;
    let other = move |request: HttpRequest| other_method(request, GET_POST);
    entry.resource = entry.resource.route(web::post().to(writes)).default_service(web::to(other));
    entry
}

fn entry(path: &'static str, methods: &'static str, route: actix_web::Route) -> Entry {
    let other = move |request: HttpRequest| other_method(request, methods);
    let resource = web::resource(path).route(route).default_service(web::to(other));
    Entry { path, methods, resource }
}

/// `OPTIONS` is answered with what there is (to a browser's preflight `guard` adds the
/// rest), any other method refused.
async fn other_method(
    request: HttpRequest,
    methods: &'static str,
) -> Result<HttpResponse, Problem> {
    let allow = format!("{methods}, OPTIONS");
    match *request.method() {
        Method::OPTIONS => Ok(HttpResponse::NoContent().insert_header((ALLOW, allow)).finish()),
        _ => Err(Problem::MethodNotAllowed { allow }),
    }
}
