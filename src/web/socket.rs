//! The websocket: carries bytes between a browser and the broadcaster.
//!
//! The only file that knows `actix-web-actors`. That crate is deprecated upstream in
//! favour of `actix-ws`; everything but the carrying lives elsewhere, so that it can be
//! replaced here. The actor *is* the body of the HTTP response: while a browser does
//! not read, nothing in here runs, no timer either. So nothing in here judges anybody.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{self, CloseCode, Message, ProtocolError, WebsocketContext};

use super::problem::Problem;
use super::{Seat, State};
use crate::actors::broadcaster::{Broadcaster, Ending, FromClient, Join, Left, ToClient};
use crate::domain::board::frame::{CloseReason, PROTOCOL, bye};
use crate::domain::board::subscriber::MESSAGE_BYTES_MAX;

/// Frames that wait for this actor. Each is at most a tick's; the window of
/// `Subscriber` bounds their bytes.
const MAILBOX_LEN_MAX: usize = 8;

/// How often the actor looks whether it was ended while its mailbox was full.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// `GET /v1/ws`.
///
/// # Errors
/// `Unavailable` while draining, `Busy` when no seat is free, `BadRequest` without upgrade.
pub async fn open(
    state: Data<State>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    if state.is_draining() {
        return Err(Problem::Unavailable("the server is stopping".into()));
    }
    let Some(seat) = state.load.sit(state.settings.sockets_max) else {
        return Err(Problem::Unavailable("all websockets are taken".into()));
    };
    let socket = Socket {
        broadcaster: state.broadcaster.clone(),
        connection: None,
        ending: Arc::default(),
        over: None,
        _seat: seat,
    };
    ws::WsResponseBuilder::new(socket, &request, payload)
        .protocols(&[PROTOCOL])
        .frame_size(MESSAGE_BYTES_MAX)
        .start()
        .map_err(|error| Problem::BadRequest(error.to_string()))
}

/// One client's actor.
struct Socket {
    broadcaster: Addr<Broadcaster>,
    connection: Option<u64>,
    ending: Arc<OnceLock<Ending>>,
    /// Why it was ended on this side.
    over: Option<CloseReason>,
    _seat: Seat,
}

impl Socket {
    /// Waits until the broadcaster has taken the message. Meanwhile nothing is read
    /// from the browser, so a client has one message under way at most.
    fn forward(&mut self, text: bytestring::ByteString, ctx: &mut WebsocketContext<Self>) {
        let Some(connection) = self.connection else { return };
        let taken = self.broadcaster.send(FromClient { connection, text });
        ctx.wait(taken.into_actor(self).map(|taken, _, ctx| {
            if taken.is_err() {
                ctx.stop();
            }
        }));
    }

    fn refuse(&mut self, reason: CloseReason, ctx: &mut WebsocketContext<Self>) {
        self.over = Some(reason);
        self.end(Ending { reason, after_ms: 0 }, ctx);
    }

    fn end(&mut self, ending: Ending, ctx: &mut WebsocketContext<Self>) {
        ctx.text(bye(ending.reason, ending.after_ms));
        ctx.close(Some(ws::CloseReason {
            code: CloseCode::Other(ending.reason.code()),
            description: Some(ending.reason.text().into()),
        }));
        ctx.stop();
    }

    fn look(&mut self, ctx: &mut WebsocketContext<Self>) {
        if let Some(ending) = self.ending.get().copied() {
            self.end(ending, ctx);
        }
    }
}

impl Actor for Socket {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_LEN_MAX);
        let client = ctx.address().recipient();
        let join = self.broadcaster.send(Join { client, ending: Arc::clone(&self.ending) });
        ctx.wait(join.into_actor(self).map(|connection, this, ctx| match connection {
            Ok(connection) => this.connection = Some(connection),
            Err(_) => ctx.stop(),
        }));
        ctx.run_interval(LOOK_INTERVAL, Self::look);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(connection) = self.connection {
            // When its mailbox is full, the broadcaster finds the dead address itself.
            let _ = self.broadcaster.try_send(Left { connection, reason: self.over });
        }
    }
}

impl Handler<ToClient> for Socket {
    type Result = ();

    fn handle(&mut self, message: ToClient, ctx: &mut Self::Context) {
        match message {
            ToClient::Frame(frame) => ctx.text(frame),
            ToClient::End => self.look(ctx),
        }
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Socket {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        match message {
            Ok(Message::Text(text)) => self.forward(text, ctx),
            Ok(Message::Ping(payload)) => ctx.pong(&payload),
            Ok(Message::Pong(_) | Message::Nop) => {}
            Ok(Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(Message::Binary(_) | Message::Continuation(_)) => {
                self.refuse(CloseReason::Malformed, ctx);
            }
            Err(ProtocolError::Overflow) => self.refuse(CloseReason::TooLarge, ctx),
            Err(_) => self.refuse(CloseReason::Malformed, ctx),
        }
    }
}
