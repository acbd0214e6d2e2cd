//! Pages that cost more to write than to send: kept for those who ask again at once.

use super::reply::{Reply, reply};
use crate::api;
use crate::base::{Gcra, Rate};
use crate::io::shared::NodeShared;
use crate::metrics;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// How often `/metrics` is written anew. More requests are answered with the last page, which is at most 20 ms old.
const WRITTEN: Rate = Rate { per_s: 50, burst: 100 };

/// What the node keeps of its pages.
#[derive(Debug, Default)]
pub struct Pages {
    metrics: Mutex<MetricsPages>,
    openapi: Mutex<Option<(String, Bytes)>>,
}

#[derive(Debug, Default)]
struct MetricsPages {
    written: Gcra,
    kept: [Option<Bytes>; Form::COUNT],
}

/// A form of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    open_metrics: bool,
    gzip: bool,
}

impl Form {
    const COUNT: usize = 4;

    /// The form that a request asks for.
    fn asked(headers: &HeaderMap) -> Self {
        let accepts = |name, value: &str| quality(headers, name, |range| range.eq_ignore_ascii_case(value));
        let open = accepts(header::ACCEPT, "application/openmetrics-text").unwrap_or(0);
        let plain = accepts(header::ACCEPT, "text/plain").unwrap_or(0);
        Self { open_metrics: open > 0 && open >= plain, gzip: takes_gzip(headers) }
    }

    fn index(self) -> usize {
        usize::from(self.open_metrics) * 2 + usize::from(self.gzip)
    }

    fn content_type(self) -> &'static str {
        if self.open_metrics { metrics::OPEN_METRICS } else { metrics::TEXT }
    }

    /// The page in this form, from its text in OpenMetrics.
    fn write(self, page: String) -> Bytes {
        let page = if self.open_metrics { page } else { metrics::as_text(&page) };
        if !self.gzip {
            return page.into();
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Memory takes all that is written to it.
        let _ = encoder.write_all(page.as_bytes());
        encoder.finish().unwrap_or_default().into()
    }
}

/// Whether a client takes an answer in gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let of =
        |coding: &str| quality(headers, header::ACCEPT_ENCODING, |range| range.eq_ignore_ascii_case(coding));
    // RFC 9110 section 12.5.3: what is not named is `*`.
    of("gzip").or_else(|| of("*")).is_some_and(|quality| quality > 0)
}

/// The weight, in thousandths, of the first element of a list header (RFC 9110 section 12.4.2) that `is_it` of its value
/// without parameters; `None` if there is none.
fn quality(headers: &HeaderMap, name: header::HeaderName, is_it: impl Fn(&str) -> bool) -> Option<u32> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    let mut elements = lines.flat_map(|line| line.split(','));
    elements.find_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        is_it(parts.next()?).then(|| parts.find_map(weight).unwrap_or(1000))
    })
}

/// The weight that a parameter `q=` gives; one that cannot be read gives none.
fn weight(parameter: &str) -> Option<u32> {
    let (name, value) = parameter.split_once('=')?;
    let value = name.eq_ignore_ascii_case("q").then(|| value.parse::<f32>())?.ok()?;
    Some((value.clamp(0.0, 1.0) * 1000.0) as u32)
}

impl NodeShared {
    /// `/metrics`, in the form that is asked for.
    pub(super) fn metrics_page(&self, headers: &HeaderMap) -> Reply {
        let form = Form::asked(headers);
        let mut reply = reply(StatusCode::OK, form.content_type(), self.metrics_in(form));
        let headers = reply.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if form.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        reply
    }

    fn metrics_in(&self, form: Form) -> Bytes {
        let now_ns = self.clock.now().us * 1000;
        let mut pages = self.pages.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if !pages.written.check(&WRITTEN, 1, now_ns)
            && let Some(kept) = &pages.kept[form.index()]
        {
            return kept.clone();
        }
        let mut text = String::new();
        self.encode_metrics(&mut text);
        let page = form.write(text);
        pages.kept[form.index()] = Some(page.clone());
        page
    }

    /// `/openapi.json` of a server with this prefix of paths.
    pub(super) fn openapi_page(&self, prefix: &str) -> Bytes {
        let mut kept = self.pages.openapi.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, page)) if of == prefix => page.clone(),
            _ => {
                let page: Bytes = api::openapi(prefix);
                *kept = Some((prefix.to_owned(), page.clone()));
                page
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &[&'static str], encoding: Option<&'static str>) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        for line in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(line));
        }
        if let Some(encoding) = encoding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        }
        let Form { open_metrics, gzip } = Form::asked(&headers);
        (open_metrics, gzip)
    }

    #[test]
    fn open_metrics_is_for_those_that_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, open_metrics) in [
            (&[prometheus][..], true),
            (&["application/openmetrics-text"], true),
            (&["text/html", "Application/OpenMetrics-Text ; q=1"], true),
            (&["application/openmetrics-text;q=0.2, text/plain;q=0.9"], false),
            (&["application/openmetrics-text;q=0"], false),
            (&["text/plain;version=0.0.4"], false),
            (&["application/json"], false),
            (&["*/*"], false),
            (&[], false),
        ] {
            assert_eq!(form(accept, None), (open_metrics, false), "{accept:?}");
        }
    }

    #[test]
    fn gzip_is_for_those_that_accept_it() {
        for (encoding, gzip) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("gzip;q=0.000", false),
            ("br", false),
            ("identity", false),
            ("", false),
            ("gzip;q=nonsense", true),
        ] {
            assert_eq!(form(&[], Some(encoding)), (false, gzip), "{encoding:?}");
        }
    }
}
