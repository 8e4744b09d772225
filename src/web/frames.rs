//! The headers of websocket frames, looked at as the bytes pass: a frame that announces
//! more than a message may have is refused before anything of it is kept.
//!
//! The decoder behind it looks at the length only once the whole frame is there. Only
//! what leads to its refusal is judged here: everything else is the decoder's part.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::error::PayloadError;
use actix_web::rt::time::{Sleep, sleep};
use actix_web::web::{Bytes, Payload};
use futures_util::Stream;
use thiserror::Error;

/// Longest header: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// Longest payload of a ping, pong or close (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// Where in the stream of frames we are.
#[derive(Debug, Default)]
pub struct Headers {
    header: [u8; HEADER_BYTES_MAX],
    have: usize,
    /// Bytes of the payload that are still to come.
    payload: u64,
}

/// A frame that must not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Headers {
    /// Follows the next bytes.
    ///
    /// # Errors
    /// When a header announces more than `bytes_max`, or a control frame more than such
    /// a frame may have.
    pub fn pass(&mut self, mut bytes: &[u8], bytes_max: u64) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let passed = self.payload.min(bytes.len() as u64);
                self.payload -= passed;
                bytes = &bytes[passed as usize..];
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            let Some(len) = self.announced() else { continue };
            let control = self.header[0] & 0x08 != 0;
            if len > bytes_max || control && len > CONTROL_BYTES_MAX {
                return Err(TooLong);
            }
            if self.have == self.header_len() {
                (self.payload, self.have) = (len, 0);
            }
        }
        Ok(())
    }

    /// The payload's length, once its bytes are there.
    fn announced(&self) -> Option<u64> {
        let header = &self.header[..self.have];
        match header.get(1)? & 0x7f {
            126 => Some(u64::from(u16::from_be_bytes(header.get(2..4)?.try_into().ok()?))),
            127 => Some(u64::from_be_bytes(header.get(2..10)?.try_into().ok()?)),
            len => Some(u64::from(len)),
        }
    }

    fn header_len(&self) -> usize {
        let mask = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
        let len = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + len + mask
    }
}

/// What a browser sends, shared by who reads it and who holds it until the end.
pub type Incoming = Rc<RefCell<Payload>>;

/// What comes from a browser, up to the first frame that is too long; then an error.
pub struct Guarded {
    inner: Incoming,
    headers: Headers,
    bytes_max: u64,
    too_long: Arc<AtomicBool>,
}

impl Guarded {
    /// Guards `inner`; `too_long` tells why it ended.
    pub fn new(inner: Incoming, bytes_max: usize, too_long: Arc<AtomicBool>) -> Self {
        Guarded { inner, headers: Headers::default(), bytes_max: bytes_max as u64, too_long }
    }
}

impl Stream for Guarded {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.too_long.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(PayloadError::Overflow)));
        }
        let next = Pin::new(&mut *this.inner.borrow_mut()).poll_next(context);
        if let Poll::Ready(Some(Ok(bytes))) = &next
            && this.headers.pass(bytes, this.bytes_max).is_err()
        {
            this.too_long.store(true, Ordering::Release);
            return Poll::Ready(Some(Err(PayloadError::Overflow)));
        }
        next
    }
}

/// Time for the goodbye to leave before the connection is cut.
const GOODBYE: Duration = Duration::from_millis(500);

/// The answer's side of a connection. Once it has said goodbye the connection is cut,
/// whatever the browser still sends: nothing of that is read meanwhile.
pub struct Cut {
    inner: BoxBody,
    /// Held, so that the server does not read on and drop what comes.
    _incoming: Incoming,
    ended: Option<Pin<Box<Sleep>>>,
}

/// Ends the connection.
#[derive(Clone, Copy, Debug, Error)]
#[error("the websocket is over")]
pub struct Over;

impl Cut {
    /// Cuts after `inner`.
    pub fn new(inner: BoxBody, incoming: Incoming) -> Self {
        Cut { inner, _incoming: incoming, ended: None }
    }
}

impl MessageBody for Cut {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(ended) = &mut self.ended {
            return ended.as_mut().poll(context).map(|()| Some(Err(Over.into())));
        }
        match Pin::new(&mut self.inner).poll_next(context) {
            Poll::Ready(None | Some(Err(_))) => {
                // Its actor is let go now, with its seat.
                self.inner = BoxBody::new(());
                let mut goodbye = Box::pin(sleep(GOODBYE));
                let polled = goodbye.as_mut().poll(context);
                self.ended = Some(goodbye);
                polled.map(|()| Some(Err(Over.into())))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 16 * 1024;

    fn frame(opcode: u8, len: u64, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![opcode];
        match len {
            0..=125 => bytes.push(mask | len as u8),
            126..=0xffff => {
                bytes.push(mask | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend(len.to_be_bytes());
            }
        }
        bytes.extend(masked.then_some([0; 4]).iter().flatten());
        bytes
    }

    fn whole(opcode: u8, len: u64) -> Vec<u8> {
        [frame(opcode, len, true), vec![b'x'; len as usize]].concat()
    }

    #[test]
    fn a_length_is_refused_at_its_header_whatever_the_frame() {
        for opcode in [0x81, 0x01, 0x02, 0x82, 0x00, 0x80] {
            for len in [MAX + 1, 65_535, 65_536, 8 << 30, u64::MAX >> 1, u64::MAX] {
                let mut headers = Headers::default();
                let header = frame(opcode, len, true);
                // Without the mask: the length is enough.
                let refused = headers.pass(&header[..header.len() - 4], MAX);
                assert_eq!(refused, Err(TooLong), "{opcode:x} {len}");
            }
            Headers::default().pass(&whole(opcode, MAX), MAX).unwrap();
        }
        for opcode in [0x88, 0x89, 0x8a, 0x09] {
            let mut headers = Headers::default();
            assert_eq!(headers.pass(&frame(opcode, 126, true), MAX), Err(TooLong));
            headers = Headers::default();
            headers.pass(&whole(opcode, 125), MAX).unwrap();
        }
    }

    proptest::proptest! {
        /// However the bytes are cut, the bad frame after good ones is found, and only it.
        #[test]
        fn the_cuts_change_nothing(
            lens in proptest::collection::vec(0u64..2_000, 0..6),
            bad in MAX + 1..u64::MAX,
            cuts in proptest::collection::vec(1usize..40, 1..40),
        ) {
            let good: Vec<u8> = lens.iter().flat_map(|len| whole(0x81, *len)).collect();
            let mut headers = Headers::default();
            let (mut rest, mut cuts) = (&good[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                proptest::prop_assert_eq!(headers.pass(now, MAX), Ok(()));
                rest = later;
            }
            let header = frame(0x81, bad, true);
            let refused = header.iter().any(|byte| headers.pass(&[*byte], MAX).is_err());
            proptest::prop_assert!(refused);
        }

        #[test]
        fn any_bytes_are_followed_without_panic(bytes: Vec<u8>) {
            let _ = Headers::default().pass(&bytes, MAX);
        }
    }
}
