//! The websocket: carries bytes between a browser and the broadcaster.
//!
//! The only file that knows `actix-web-actors`. That crate is deprecated upstream in
//! favour of `actix-ws`; everything but the carrying lives elsewhere, so that it can be
//! replaced here. The actor *is* the body of the HTTP response: while a browser does
//! not read, nothing in here runs, no timer either. So nothing in here judges anybody.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::prelude::*;
use actix_http::ws::Item;
use actix_web::body::MessageBody as _;
use actix_web::web::{BytesMut, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::{self, CloseCode, Message, ProtocolError, WebsocketContext};
use bytestring::ByteString;

use super::frames::{Cut, Guarded};
use super::problem::Problem;
use super::{Seat, State};
use crate::actors::broadcaster::{Broadcaster, Ending, FromClient, Join, Left, ToClient};
use crate::domain::board::frame::{CloseReason, PROTOCOL, bye};
use crate::domain::board::subscriber::MESSAGE_BYTES_MAX;

/// Frames that wait for this actor. Each is at most a tick's; the window of
/// `Subscriber` bounds their bytes.
const MAILBOX_LEN_MAX: usize = 8;

/// Pings and pongs of one client between two looks. RFC 6455 gives no number; clients
/// that ping send one each few seconds.
const CONTROL_FRAMES_MAX: u32 = 32;

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
    let Some(seat) = state.load.sit(state.settings.sockets_max()) else {
        return Err(Problem::Unavailable("all websockets are taken".into()));
    };
    let too_long = Arc::new(AtomicBool::new(false));
    let incoming = Rc::new(RefCell::new(payload));
    let guarded = Guarded::new(Rc::clone(&incoming), MESSAGE_BYTES_MAX, Arc::clone(&too_long));
    let socket = Socket {
        broadcaster: state.broadcaster.clone(),
        connection: None,
        ending: Arc::default(),
        over: None,
        too_long,
        fragments: BytesMut::new(),
        control_frames: 0,
        _seat: seat,
    };
    ws::WsResponseBuilder::new(socket, &request, guarded)
        .protocols(&[PROTOCOL])
        .frame_size(MESSAGE_BYTES_MAX)
        .start()
        .map(|response| response.map_body(|_, body| Cut::new(body, incoming).boxed()))
        .map_err(|error| Problem::BadRequest(error.to_string()))
}

/// One client's actor.
struct Socket {
    broadcaster: Addr<Broadcaster>,
    connection: Option<u64>,
    ending: Arc<OnceLock<Ending>>,
    /// Why it was ended on this side.
    over: Option<CloseReason>,
    /// A frame announced more than a message may have.
    too_long: Arc<AtomicBool>,
    /// The parts of a message that came so far.
    fragments: BytesMut,
    /// Pings and pongs since the last look.
    control_frames: u32,
    _seat: Seat,
}

impl Socket {
    /// Waits until the broadcaster has taken the message. Meanwhile nothing is read
    /// from the browser, so a client has one message under way at most.
    fn forward(&mut self, text: ByteString, ctx: &mut WebsocketContext<Self>) {
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

    /// A part of a message; the last one completes it.
    fn fragment(&mut self, part: Item, ctx: &mut WebsocketContext<Self>) {
        let (first, last, bytes) = match part {
            Item::FirstText(bytes) => (true, false, bytes),
            Item::Continue(bytes) => (false, false, bytes),
            Item::Last(bytes) => (false, true, bytes),
            Item::FirstBinary(_) => return self.refuse(CloseReason::Malformed, ctx),
        };
        if first {
            self.fragments.clear();
        }
        if self.fragments.len() + bytes.len() > MESSAGE_BYTES_MAX {
            return self.refuse(CloseReason::TooLarge, ctx);
        }
        self.fragments.extend_from_slice(&bytes);
        if last {
            match ByteString::try_from(std::mem::take(&mut self.fragments).freeze()) {
                Ok(text) => self.forward(text, ctx),
                Err(_) => self.refuse(CloseReason::Malformed, ctx),
            }
        }
    }

    /// Pings and pongs cost work and bring nothing: browsers send none of their own.
    fn control_frame(&mut self, ctx: &mut WebsocketContext<Self>) -> bool {
        self.control_frames += 1;
        let fine = self.control_frames <= CONTROL_FRAMES_MAX;
        if !fine {
            self.refuse(CloseReason::RateLimited, ctx);
        }
        fine
    }

    fn look(&mut self, ctx: &mut WebsocketContext<Self>) {
        self.control_frames = 0;
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
        if self.over.is_some() {
            // What came behind it in the same read.
            return;
        }
        match message {
            Ok(Message::Text(text)) => self.forward(text, ctx),
            Ok(Message::Continuation(part)) => self.fragment(part, ctx),
            Ok(Message::Ping(payload)) => {
                if self.control_frame(ctx) {
                    ctx.pong(&payload);
                }
            }
            Ok(Message::Pong(_)) => {
                self.control_frame(ctx);
            }
            Ok(Message::Nop) => {}
            Ok(Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(Message::Binary(_)) => self.refuse(CloseReason::Malformed, ctx),
            Err(ProtocolError::Overflow) => self.refuse(CloseReason::TooLarge, ctx),
            Err(_) if self.too_long.load(Ordering::Acquire) => {
                self.refuse(CloseReason::TooLarge, ctx);
            }
            Err(_) => self.refuse(CloseReason::Malformed, ctx),
        }
    }
}
