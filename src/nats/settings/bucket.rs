//! A key-value bucket as the table of a lookup.

use std::sync::Arc;

use super::LinkSettings;
use super::rules::optional_name;
use crate::domain::settings::settings;
use crate::lookup::{Kind, Source, Wrong};

settings! {
    /// A bucket.
    #[derive(Clone, Debug)]
    pub struct BucketKeys in "" {
        /// A NATS key-value bucket at nats.url. Each of its keys is a row; the value is a JSON object of
        /// columns, or one value, which is the column "value".
        pub bucket: String = String::new(), checked(optional_name);
    }
}

impl Kind for BucketKeys {
    fn choice(&self) -> &'static str {
        "bucket"
    }

    fn is_chosen(&self) -> bool {
        !self.bucket.is_empty()
    }

    #[cfg(feature = "nats")]
    fn open(&self, nats: Option<&LinkSettings>) -> Result<Arc<dyn Source>, Wrong> {
        let no_server = || Wrong::of("bucket", "needs a server: set nats.url");
        let settings = nats.ok_or_else(no_server)?;
        Ok(crate::nats::bucket::Bucket::source(&self.bucket, settings))
    }

    #[cfg(not(feature = "nats"))]
    fn open(&self, _: Option<&LinkSettings>) -> Result<Arc<dyn Source>, Wrong> {
        Err(Wrong::of("bucket", "this build has no NATS: build with --features nats"))
    }
}
