//! Compressed bodies to plain ones, with a bound that stops while inflating: what a
//! small body inflates to is not known before.

use std::io::Read;

use actix_web::web::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::problem::Problem;

/// A body that inflates to no more than this is inflated once.
const FIRST_BYTES: usize = 256 * 1024;

/// Bytes counted at a time.
const STEP_BYTES: usize = 64 * 1024;

/// Window of a zstd body: what RFC 9659 lets a sender ask for, 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// RFC 1952; several members are one body.
    Gzip,
    /// RFC 1950.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// What a `Content-Encoding` header says.
    ///
    /// # Errors
    /// `Coding` when it is another one, or several.
    pub fn named(header: &str) -> Result<Coding, Problem> {
        match header.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Coding::Identity),
            "gzip" | "x-gzip" => Ok(Coding::Gzip),
            "deflate" => Ok(Coding::Deflate),
            "zstd" => Ok(Coding::Zstd),
            other => Err(Problem::Coding(other.to_owned())),
        }
    }

    /// The coding of a body whose header says nothing: no event starts with these bytes.
    pub fn of_bytes(body: &[u8]) -> Coding {
        match body {
            [0x1f, 0x8b, 0x08, ..] => Coding::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Coding::Zstd,
            _ => Coding::Identity,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Coding::Identity => "plain",
            Coding::Gzip => "gzip",
            Coding::Deflate => "zlib (deflate)",
            Coding::Zstd => "zstd",
        }
    }
}

/// Inflates a body to at most `bound` bytes. `grow` is told before memory is taken how
/// many bytes it will be.
///
/// A body of some size is inflated twice: what it will be is counted first, so that it
/// needs its own size once and not, by growing, up to three times.
///
/// # Errors
/// `TooLarge` beyond the bound, `BadRequest` when the body is not what it says, and
/// whatever `grow` refuses with.
pub fn inflate(
    coding: Coding,
    body: &Bytes,
    bound: usize,
    grow: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    if coding == Coding::Identity {
        return Ok(body.clone());
    }
    let open = || -> std::io::Result<Box<dyn Read + '_>> {
        Ok(match coding {
            Coding::Identity => Box::new(&body[..]),
            Coding::Gzip => Box::new(MultiGzDecoder::new(&body[..])),
            Coding::Deflate => Box::new(ZlibDecoder::new(&body[..])),
            Coding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&body[..])?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    };
    drain(open, bound, grow, |error| {
        let name = coding.name();
        Problem::BadRequest(format!("the body is not {name}, or is cut short: {error}"))
    })
}

fn drain<'a>(
    open: impl Fn() -> std::io::Result<Box<dyn Read + 'a>>,
    bound: usize,
    mut grow: impl FnMut(usize) -> Result<(), Problem>,
    not: impl Fn(std::io::Error) -> Problem,
) -> Result<Bytes, Problem> {
    let first = FIRST_BYTES.min(bound.saturating_add(1));
    grow(first)?;
    let mut out: Vec<u8> = Vec::with_capacity(first);
    let mut from = open().map_err(&not)?;
    from.by_ref().take(first as u64).read_to_end(&mut out).map_err(&not)?;
    let mut len = out.len();
    if len == first {
        let mut step = vec![0; STEP_BYTES];
        while len <= bound {
            match from.read(&mut step).map_err(&not)? {
                0 => break,
                read => len += read,
            }
        }
    }
    if len > bound {
        return Err(Problem::too_large("inflated body", bound));
    }
    if len == out.len() {
        return Ok(out.into());
    }
    drop((out, from));
    grow(len)?;
    let mut whole = Vec::with_capacity(len);
    open().and_then(|from| from.take(len as u64).read_to_end(&mut whole)).map_err(&not)?;
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn whole(coding: Coding, body: Vec<u8>, bound: usize) -> Result<Bytes, Problem> {
        inflate(coding, &body.into(), bound, |_| Ok(()))
    }

    proptest::proptest! {
        #[test]
        fn every_coding_gives_back_what_went_in(text: Vec<u8>, copies in 1usize..9_000) {
            let plain = text.repeat(copies);
            let bodies = [
                (Coding::Gzip, gzip(&plain)),
                (Coding::Deflate, zlib(&plain)),
                (Coding::Zstd, zstd::encode_all(&plain[..], 3).unwrap()),
            ];
            for (coding, body) in bodies {
                let exact = whole(coding, body.clone(), plain.len()).unwrap();
                proptest::prop_assert_eq!(&exact[..], &plain[..]);
                if let Some(less) = plain.len().checked_sub(1) {
                    let refused = whole(coding, body, less);
                    let too_large = matches!(refused, Err(Problem::TooLarge { .. }));
                    proptest::prop_assert!(too_large);
                }
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
                let _ = whole(coding, body.clone(), 1_000);
            }
        }
    }

    #[test]
    fn memory_is_asked_for_before_it_is_taken_and_never_beyond_the_bound() {
        let bomb = gzip(&vec![b' '; 10_000_000]);
        let mut asked = Vec::new();
        let grow = |bytes| {
            asked.push(bytes);
            Ok(())
        };
        let bound = 300_000;
        let refused = inflate(Coding::Gzip, &bomb.clone().into(), bound, grow);
        assert!(matches!(refused, Err(Problem::TooLarge { .. })));
        assert!(asked.iter().all(|bytes| *bytes <= bound), "{asked:?}");
        let fits = gzip(&vec![b' '; bound]);
        let mut asked = Vec::new();
        let grow = |bytes| {
            asked.push(bytes);
            Ok(())
        };
        let whole = inflate(Coding::Gzip, &fits.into(), bound, grow).unwrap();
        assert_eq!((whole.len(), asked), (bound, vec![FIRST_BYTES, bound]));
        let full = |_| Err(Problem::Busy("no room".into()));
        let refused = inflate(Coding::Gzip, &bomb.into(), bound, full);
        assert!(matches!(refused, Err(Problem::Busy(_))));
    }

    #[test]
    fn several_members_are_one_body_and_a_cut_one_is_none() {
        let both = [gzip(b"one\n"), gzip(b"two\n")].concat();
        assert_eq!(&whole(Coding::Gzip, both.clone(), 100).unwrap()[..], b"one\ntwo\n");
        let cut = both[..both.len() - 5].to_vec();
        assert!(matches!(whole(Coding::Gzip, cut, 100), Err(Problem::BadRequest(_))));
    }

    #[test]
    fn codings_are_named_by_header_or_by_their_first_bytes() {
        for (header, coding) in [
            ("gzip", Coding::Gzip),
            (" X-GZIP ", Coding::Gzip),
            ("zstd", Coding::Zstd),
            ("deflate", Coding::Deflate),
            ("identity", Coding::Identity),
            ("", Coding::Identity),
        ] {
            assert_eq!(Coding::named(header).unwrap(), coding, "{header}");
        }
        for header in ["br", "gzip, gzip", "*"] {
            assert!(matches!(Coding::named(header), Err(Problem::Coding(_))), "{header}");
        }
        assert_eq!(Coding::of_bytes(&gzip(b"{}")), Coding::Gzip);
        assert_eq!(Coding::of_bytes(&zstd::encode_all(&b"{}"[..], 1).unwrap()), Coding::Zstd);
        assert_eq!(Coding::of_bytes(b"{}"), Coding::Identity);
        assert_eq!(Coding::of_bytes(b""), Coding::Identity);
    }
}
