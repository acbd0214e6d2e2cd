//! Clients that offer permessage-deflate and cannot do it.

/// A kind of client, told by its `User-Agent`.
struct Broken {
    /// What stands in its name.
    has: &'static str,
    /// What does not.
    lacks: &'static [&'static str],
}

/// All of these use Apple's NSURLSession, in Safari since version 15, in every browser and web view on iOS, and in
/// programs. It inflates wrongly, to an end with a protocol error:
///
/// - 15.0 to 15.3 ignore `client_no_context_takeover`
///   (<https://github.com/uNetworking/uWebSockets/issues/1347>, <https://github.com/gorilla/websocket/issues/731>);
/// - 15 to 17 fail on some compressed messages (<https://github.com/TheThingsNetwork/lorawan-stack/issues/6782>,
///   <https://github.com/coder/coder/pull/8070>, <https://github.com/warmcat/libwebsockets/issues/3065>);
/// - with macOS 15 still on compressed messages between ones that are not, which is what is sent here
///   (<https://github.com/oven-sh/bun/issues/25673>).
///
/// Older ones offer `x-webkit-deflate-frame`, or are broken too
/// (<https://github.com/coder/websocket/issues/218>). As no version is known to be right, none is believed.
const BROKEN: [Broken; 2] = [
    // Browsers that have only their engine's name in common with Safari say whose they are.
    Broken { has: "AppleWebKit/", lacks: &["Chrome/", "Chromium/"] },
    Broken { has: "CFNetwork/", lacks: &[] },
];

/// Whether a client of that name is known to compress or inflate wrongly.
pub fn has_broken_deflate(user_agent: &str) -> bool {
    BROKEN.iter().any(|broken| {
        user_agent.contains(broken.has) && !broken.lacks.iter().any(|lacked| user_agent.contains(lacked))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart() {
        for (user_agent, broken) in [
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.2 Safari/605.1.15",
                true,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
                true,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/123.0.6312.52 Mobile/15E148 Safari/604.1",
                true,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 15_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/98.0 Mobile/15E148 Safari/605.1.15",
                true,
            ),
            ("MyApp/1 CFNetwork/1408.0.4 Darwin/22.5.0", true),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/97.0.4692.99 Safari/537.36 Edg/97.0.1072.69",
                false,
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/140.0.0.0 Safari/537.36",
                false,
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", false),
            ("Python/3.11 aiohttp/3.9", false),
            ("", false),
        ] {
            assert_eq!(has_broken_deflate(user_agent), broken, "{user_agent}");
        }
    }
}
