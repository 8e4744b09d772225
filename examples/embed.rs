//! tidewatch inside another program: the pipeline runs on threads of its own, and the page
//! and the API are mounted under `/live/` of the host's own application.
//!
//!     cargo run --release --example embed
//!
//! Ends with Ctrl-C or SIGTERM, after everything is committed.

use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, web};
use tidewatch::clock::SystemClock;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pipeline = Arc::new(tidewatch::Pipeline::builder().data_dir("embedded-numbers").start()?);

    // The host publishes what it knows; the answer comes once the event is durable.
    let now = SystemClock::shared().wall();
    let event = serde_json::json!({
        "id": format!("start-{now}"), "ts": now, "type": "cart_add", "user": "host", "amount": 12.5,
    });
    pipeline.publish(vec![event.to_string().into()]).await?;

    let (state, shared) = (pipeline.web(), Arc::clone(&pipeline));
    let server = HttpServer::new(move || {
        let pipeline = web::Data::from(Arc::clone(&shared));
        App::new()
            .app_data(pipeline)
            .route("/", web::get().to(host_page))
            .service(web::scope("/live").configure(tidewatch::web::configure(state.clone())))
    })
    .workers(1)
    .bind(("127.0.0.1", 0))?;
    let address = server.addrs()[0];
    println!("dashboard: http://{address}/live/");
    server.run().await?;

    // The server is gone, so this is the last holder.
    if let Some(pipeline) = Arc::into_inner(pipeline) {
        let numbers = pipeline.shutdown().await?;
        println!("{} events counted", numbers.ledger.applied);
    }
    Ok(())
}

/// The host's own route, with a number from the board.
async fn host_page(pipeline: web::Data<tidewatch::app::Running>) -> HttpResponse {
    let board = pipeline.board();
    HttpResponse::Ok().body(format!("host program, board version {}\n", board.version))
}
