//! Certificates that expire: a gauge for whoever watches the metrics, and a warning that comes back every day for whoever
//! reads the log. The start and every reload warn by themselves.

use std::convert::Infallible;
use std::fmt;

use bowline_identity::tls::Validity;
use bowline_rt::time::sleep;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry as Metrics, Unit};

use crate::limits::EXPIRY_WARNING_PERIOD;
use crate::reload::Reload;

/// Adds `bowline_tls_certificate_expiry_seconds` of every file in `files` to `metrics`.
pub fn register(metrics: &mut Metrics, files: Reload) {
    metrics.register_collector(Box::new(Expiry(files)));
}

/// Repeats the warnings about certificates of `files` for as long as it is polled.
pub async fn warn_daily(files: Reload) -> Infallible {
    repeat(&files, Validity::warn).await
}

async fn repeat(files: &Reload, mut warn: impl FnMut(&Validity)) -> Infallible {
    loop {
        sleep(EXPIRY_WARNING_PERIOD).await;
        files.validities().iter().for_each(&mut warn);
    }
}

/// Looks when it is asked, so that a reload is seen at once.
#[derive(Debug)]
struct Expiry(Reload);

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let validities = self.0.validities();
        if validities.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(
            "bowline_tls_certificate_expiry",
            "When the certificate in a file expires, since 1970",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for validity in &validities {
            let labels = [("file", validity.file.as_str())];
            let not_after = i64::try_from(validity.not_after.as_secs()).unwrap_or(i64::MAX);
            ConstGauge::new(not_after).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bowline_identity::Identity;
    use bowline_identity::ca::{Authority, Request};
    use bowline_identity::tls::{Acceptor, ClientAuthentication, Credential, Pem, ServerSettings};
    use bowline_rt::time::timeout;

    use super::*;
    use crate::reload::Part;

    /// Two ports with one certificate, and when it expires.
    fn two_ports() -> (Reload, u64) {
        let authority = Authority::create("test", 10).expect("an authority");
        let identity = Identity::Gateway("g1".parse().expect("a name"));
        let issued =
            authority.issue(&Request { identity, names: vec!["g".into()], days: 1 }).expect("issued");
        let pem = |name: &str, text: &str| Pem::Text { name: name.into(), text: Arc::from(text) };
        let port = || {
            let settings = ServerSettings {
                credential: Credential {
                    certificate: pem("g1.crt", &issued.certificate),
                    key: pem("g1.key", issued.key.reveal()),
                },
                client_authentication: ClientAuthentication::None,
                alpn: Vec::new(),
            };
            Part::Acceptor(Acceptor::tls(settings).expect("an acceptor"))
        };
        (Reload::new(vec![("http", port()), ("agents", port())]), issued.not_after.as_secs())
    }

    fn text(files: Reload) -> String {
        let mut metrics = Metrics::default();
        register(&mut metrics, files);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics).expect("a String grows");
        text
    }

    #[tokio::test]
    async fn each_file_stands_in_the_metrics_once() {
        let (files, not_after) = two_ports();
        let expected = format!("bowline_tls_certificate_expiry_seconds{{file=\"g1.crt\"}} {not_after}\n");
        let text = text(files);
        assert!(text.contains(&expected) && text.matches("g1.crt").count() == 1, "{text}");
    }

    #[tokio::test]
    async fn without_certificates_there_is_no_metric() {
        assert_eq!(text(Reload::new(Vec::new())), "# EOF\n");
    }

    #[tokio::test(start_paused = true)]
    async fn the_warning_comes_back_every_day() {
        let (files, _) = two_ports();
        let mut warned = Vec::new();
        let days = repeat(&files, |validity| warned.push(validity.file.clone()));
        assert!(timeout(EXPIRY_WARNING_PERIOD * 7 / 2, days).await.is_err());
        assert_eq!(warned, ["g1.crt"; 3]);
    }
}
