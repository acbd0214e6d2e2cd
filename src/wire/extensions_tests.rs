use super::*;

const BARE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What a server that supports every window of zlib answers; `-` for nothing, `malformed` for an error.
fn answer(lines: &[&str]) -> String {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, line.parse().unwrap());
    }
    match deflate_offer(&headers) {
        Ok(Some(offer)) => offer.response(offer.window_bits_max()),
        Ok(None) => "-".to_owned(),
        Err(MalformedExtensions) => "malformed".to_owned(),
    }
}

#[track_caller]
fn check(offer: &str, expected: &str) {
    let expected = expected.replace("BARE", BARE);
    assert_eq!(answer(&[offer]), expected, "{offer}");
}

/// RFC 7692 sections 5.2, 7.1 and 7.1.3.
#[test]
fn the_examples_of_the_rfc() {
    check("permessage-deflate", "BARE");
    check(
        "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
        "BARE; server_max_window_bits=10",
    );
    check(
        "permessage-deflate; client_max_window_bits; server_max_window_bits=10, \
         permessage-deflate; client_max_window_bits",
        "BARE; server_max_window_bits=10",
    );
    check(
        "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        "BARE; server_max_window_bits=10",
    );
    check("permessage-foo", "-");
    check("permessage-foo, permessage-bar", "-");
    check("permessage-foo; x=10", "-");
    check("permessage-foo; use_y, permessage-foo", "-");
    check("permessage-foo; use_y, permessage-bar, permessage-deflate", "BARE");
}

/// What clients of today send.
#[test]
fn offers_of_clients() {
    for (client, offer, expected) in [
        ("Chromium, npm ws", "permessage-deflate; client_max_window_bits", "BARE"),
        ("Firefox, aiohttp", "permessage-deflate", "BARE"),
        ("gorilla", "permessage-deflate; server_no_context_takeover; client_no_context_takeover", "BARE"),
        (
            "websockets for Python",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            "BARE; server_max_window_bits=12",
        ),
        ("Safari until 14", "x-webkit-deflate-frame", "-"),
    ] {
        assert_eq!(answer(&[offer]), expected.replace("BARE", BARE), "{client}");
    }
}

#[test]
fn every_parameter_has_its_values() {
    for bits in 9..=15 {
        check(
            &format!("permessage-deflate; server_max_window_bits={bits}"),
            &format!("BARE; server_max_window_bits={bits}"),
        );
    }
    for bits in 8..=15 {
        check(&format!("permessage-deflate; client_max_window_bits={bits}"), "BARE");
    }
    for declined in [
        "server_max_window_bits",
        "server_max_window_bits=8",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=09",
        "server_max_window_bits=1",
        "server_max_window_bits=100",
        "server_max_window_bits=+9",
        "server_max_window_bits=nine",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=010",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "client_no_context_takeover=\"\\t\"",
        "Server_No_Context_Takeover",
        "unknown",
        "unknown=1",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=16",
    ] {
        check(&format!("permessage-deflate; {declined}"), "-");
        // The next offer has its chance.
        check(&format!("permessage-deflate; {declined}, permessage-deflate"), "BARE");
    }
    check(
        "permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits=8",
        "BARE",
    );
}

#[test]
fn the_syntax_is_that_of_rfc_6455() {
    check("permessage-deflate;server_max_window_bits=\"11\"", "BARE; server_max_window_bits=11");
    check("permessage-deflate; server_max_window_bits=\"1\\1\"", "BARE; server_max_window_bits=11");
    check("permessage-deflate\t ;\t server_max_window_bits = 11 ", "BARE; server_max_window_bits=11");
    check("Permessage-Deflate", "BARE");
    check(" , ,permessage-deflate,, ", "BARE");
    check("", "-");
    check(", ,", "-");
    for malformed in [
        ";",
        "=",
        "permessage-deflate;",
        "permessage-deflate; ;",
        "permessage-deflate; x=",
        "permessage-deflate; x=\"",
        "permessage-deflate; x=\"1",
        "permessage-deflate; x=\"1\\",
        "permessage-deflate; x=\"\"",
        "permessage-deflate; x=\"a b\"",
        "permessage-deflate; x=\"1\"2",
        "permessage-deflate; =1",
        "permessage-deflate x",
        "permessage-deflate, foo bar",
        "foo; x=(, permessage-deflate",
        "permessage/deflate",
        "permessage-deflate; \u{e9}",
    ] {
        check(malformed, "malformed");
    }
}

#[test]
fn several_lines_are_one_list() {
    assert_eq!(answer(&[]), "-");
    assert_eq!(answer(&["foo", "permessage-deflate; x", "permessage-deflate"]), BARE);
    assert_eq!(answer(&["permessage-deflate", "=", "foo"]), "malformed");
}

#[test]
fn a_smaller_window_than_asked_for_is_named() {
    let offer = DeflateOffer { server_max_window_bits: Some(14) };
    assert_eq!(offer.response(12), format!("{BARE}; server_max_window_bits=12"));
    let offer = DeflateOffer { server_max_window_bits: None };
    assert_eq!(offer.response(12), format!("{BARE}; server_max_window_bits=12"));
    assert_eq!((offer.window_bits_max(), offer.response(15)), (15, BARE.to_owned()));
}
