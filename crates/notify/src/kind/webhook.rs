//! A program of one's own: a CloudEvent in a signed request, as Standard Webhooks has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::hmac;
use serde_json::json;
use tidewatch_core::incident::Step;
use tidewatch_core::settings::{Secret, settings};

use super::{Opening, Wrong};
use crate::channel::{Channel, Failure};
use crate::event::data;
use crate::http::{Http, Request, Told, Wire};
use crate::secret::Found;
use crate::template::Escape;

settings! {
    /// A request to a program of one's own: a CloudEvent, signed as Standard Webhooks asks for. That of a
    /// nudge has the address in it.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Keys in "" {
        /// Needed: where it is sent to. As every secret it may be "env:NAME" or "file:PATH".
        pub url: Secret = Secret::default(), secret();
        /// What it is signed with, "whsec_" and base64 of 24 to 64 bytes. Several with commas between
        /// them while one takes the place of another: it is signed with each.
        pub secret: Secret = Secret::default(), secret();
        /// The header Authorization, such as "Bearer ...".
        pub authorization: Secret = Secret::default(), secret();
    }
}

impl Keys {
    pub(super) const SAYS: &'static str = "a request to a program of one's own, signed as Standard Webhooks asks for, with a CloudEvent";

    pub(super) fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Channel>, Wrong> {
        let url = opening.url("url", &self.url)?;
        let form = format!("whsec_{}", STANDARD.encode([0; 32]));
        let secret = opening.secret("secret", &self.secret, &form)?;
        let authorization = opening.secret("authorization", &self.authorization, "Bearer x")?;
        let texts = secret.reveal().split(',').map(str::trim).filter(|text| !text.is_empty());
        let secrets = texts.map(key).collect::<Result<_, _>>()?;
        let common = opening.common(Escape::Plain, &[])?;
        let hidden = [&url, &authorization, &secret].map(Clone::clone);
        let wire = Webhook { url, secrets, authorization };
        Ok(Box::new(Http::new(wire, common, &hidden.each_ref())?))
    }
}

fn key(text: &str) -> Result<hmac::Key, Wrong> {
    let bytes = text.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let bytes = bytes.filter(|bytes| (24..=64).contains(&bytes.len())).ok_or_else(|| Wrong {
        key: "secret",
        rule: "must be whsec_ and base64 of 24 to 64 bytes, as in \
               \"whsec_$(head -c 32 /dev/urandom | base64)\""
            .into(),
    })?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

struct Webhook {
    url: Found,
    secrets: Vec<hmac::Key>,
    authorization: Found,
}

impl Webhook {
    fn signature(&self, id: &str, now: i64, body: &[u8]) -> String {
        let mut signed = format!("{id}.{now}.").into_bytes();
        signed.extend_from_slice(body);
        let sign = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, &signed)));
        self.secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

impl Wire for Webhook {
    const NUDGES: bool = true;

    fn request(&self, told: &Told<'_>, _: Option<&str>) -> Result<Request, Failure> {
        let notification = told.notification;
        let source = if told.view.link.is_empty() { "tidewatch" } else { &told.view.link };
        let time = Timestamp::from_millisecond(notification.at).map_err(Failure::never)?;
        let kind = match notification.step {
            Step::Nudge => "tidewatch.nudge".to_owned(),
            _ => format!("tidewatch.{}.{}", told.view.kind, told.view.step),
        };
        let event = json!({
            "specversion": "1.0",
            "id": notification.key,
            "source": source.split('#').next(),
            "type": kind,
            "subject": notification.about,
            "time": time.to_string(),
            "datacontenttype": "application/json",
            "data": data(notification, &told.view, &told.written),
        });
        let body = serde_json::to_vec(&event).map_err(Failure::never)?;
        let mut headers = vec![
            ("content-type", "application/cloudevents+json; charset=utf-8".to_owned()),
            ("webhook-id", notification.key.clone()),
            ("webhook-timestamp", told.now.to_string()),
        ];
        if !self.secrets.is_empty() {
            let signature = self.signature(&notification.key, told.now, &body);
            headers.push(("webhook-signature", signature));
        }
        if !self.authorization.reveal().is_empty() {
            headers.push(("authorization", self.authorization.reveal().to_owned()));
        }
        Ok(Request { url: self.url.reveal().to_owned(), headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, and of its libraries.
    #[test]
    fn it_is_signed_as_standard_webhooks_says() {
        let keys = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"].map(|text| key(text).unwrap());
        let found = |text: &str| {
            let secret = Secret(text.to_owned());
            crate::secret::Secrets::Real.find("url", &secret, "").unwrap()
        };
        let (url, authorization) = (found("https://a.example/"), found(""));
        let mut webhook = Webhook { url, secrets: keys.to_vec(), authorization };
        let body = br#"{"test": 2432232314}"#;
        let sign = |webhook: &Webhook| {
            webhook.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
        };
        let wanted = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(&webhook), wanted);
        webhook.secrets.push(key(&format!("whsec_{}", STANDARD.encode([7; 32]))).unwrap());
        let both = sign(&webhook);
        let parts: Vec<&str> = both.split(' ').collect();
        assert_eq!((parts.len(), parts[0]), (2, wanted));
        assert_ne!(parts[1], wanted);
        for wrong in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%"] {
            assert_eq!(key(wrong).unwrap_err().key, "secret", "{wrong}");
        }
    }
}
