//! The code of the documents runs as it stands, under node with npm's `ws` and in Chromium: only the port is another.

use crate::common::{
    Client, Document, Program, Server, at_port, eventually, find_program, in_the_browser, left_out,
    npm_package, run_javascript,
};
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs code of a document, or says that `test` is left out.
fn run(test: &str, code: &str) -> Option<(Program, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    match run_javascript(code, folder.path()) {
        Ok(program) => Some((program, folder)),
        Err(missing) => {
            left_out(&format!("documents::{test}"), missing);
            None
        }
    }
}

/// A client of the preset's own dialect that has said something and been answered.
fn member(server: &Server, says: &str) -> Client {
    let mut client = Client::ungreeted(server.addr(), "/ws", &[]);
    client.send_text(says);
    client.expect_text();
    client
}

fn channels() -> (Server, Document) {
    (Server::start(&["--preset=channels"]), Document::read("channels-fastify"))
}

fn topics() -> (Server, Document) {
    (Server::start(&["--preset=topics"]), Document::read("topics-aegisx-service"))
}

#[test]
fn channels_basic_connection() {
    let (server, document) = channels();
    let code = at_port(document.code("### Basic Connection", 0), &server);
    let Some((mut client, _folder)) = run("channels_basic_connection", &code) else { return };
    client.expect("Connected to WebSocket");
    client.expect("type: 'CHANNEL_JOINED',\n  channel: 'notifications',\n  data: { members: 1 },");
    let body = r#"{"room":"notifications","event":"SYSTEM_ALERT","data":{"message":"soon"}}"#;
    assert_eq!(server.post("/v1/publish", body).json()["delivered"], 1);
    client.expect("type: 'SYSTEM_ALERT',\n  channel: 'notifications',\n  data: { message: 'soon' },");
}

#[test]
fn channels_management() {
    let (server, document) = channels();
    // The second block goes on where the first has connected.
    let connect = at_port(document.code("### Basic Connection", 0), &server);
    let manage = document.code("### Channel Management", 0);
    let code = format!("{connect}\nws.addEventListener('open', () => {{\n{manage}\n}});");
    let Some((mut client, _folder)) = run("channels_management", &code) else { return };
    client.expect("type: 'CHANNEL_JOINED',\n  channel: 'org:company123',");
    client.expect("type: 'CHANNEL_JOINED',\n  channel: 'user:user456',");
    client.expect("type: 'CHANNEL_LEFT',\n  channel: 'notifications',");
    let reached = |room: &str| {
        let body = format!(r#"{{"room":"{room}","event":"NEWS","data":1}}"#);
        server.post("/v1/publish", &body).json()["delivered"].as_u64()
    };
    assert_eq!(["notifications", "org:company123", "user:user456"].map(reached), [Some(0), Some(1), Some(1)]);
}

#[test]
fn channels_sending() {
    let (server, document) = channels();
    let mut listener = member(&server, r#"{"type":"JOIN_CHANNEL","channel":"general"}"#);
    let connect = at_port(document.code("### Basic Connection", 0), &server);
    let send = document.code("### Sending Messages", 0);
    // Whoever publishes to a channel is in it.
    let join = "ws.send(JSON.stringify({ type: 'JOIN_CHANNEL', channel: 'general' }));";
    let code = format!("{connect}\nws.addEventListener('open', () => {{\n{join}\n{send}\n}});");
    let Some((mut client, _folder)) = run("channels_sending", &code) else { return };
    listener.expect(
        r#"{"type":"CHAT_MESSAGE","channel":"general","data":{"text":"Hello everyone!","userId":"user123"},"timestamp":"*iso"}"#,
    );
    // Nobody has been told to take job descriptions here.
    client.expect("message: 'Unknown message type: JOB_DESCRIPTION',\n    originalMessage: { type: 'JOB_DESCRIPTION', data: [Object] }");
}

#[test]
fn topics_main_connection() {
    let (server, document) = topics();
    let code = at_port(document.code("#### Main WebSocket Connection", 1), &server);
    let Some((mut client, _folder)) = run("topics_main_connection", &code) else { return };
    client.expect("type: 'welcome',");
    client.expect("type: 'subscribed',\n  channel: 'system:notifications',");
    client.expect("type: 'pong', timestamp: '20");
}

#[test]
fn topics_subscribe_and_broadcast() {
    let (server, document) = topics();
    let establish = at_port(document.code("#### Connection Establishment", 0), &server);
    let subscribe = document.code("#### Subscribe to Channels", 0);
    // What follows the first statement is for the server's side.
    let (subscribe, _) = subscribe.split_once("// Programmatically").unwrap();
    let listen = "ws.onmessage = (event) => console.log(event.data);";
    let code = format!("{establish}\n{listen}\nws.addEventListener('open', () => {{\n{subscribe}\n}});");
    let Some((mut client, _folder)) = run("topics_subscribe_and_broadcast", &code) else { return };
    client.expect("WebSocket connected");
    client.expect(r#"{"type":"subscribed","channel":"reports:progress","timestamp":"#);
}

#[test]
fn topics_dashboard() {
    let (server, document) = topics();
    let page = "const updateVitalSignsChart = (data) => console.log('vital signs', data);\n\
                const showCriticalAlert = (data) => console.log('alert', data);\n";
    let code = at_port(document.code("### Healthcare Dashboard Example", 0), &server);
    let Some((mut client, _folder)) = run("topics_dashboard", &(page.to_owned() + &code)) else { return };
    for (room, event, shown) in [
        ("patients:vitals:room-101", "vital_signs_update", "vital signs { pulse: 72 }"),
        ("alerts:critical", "critical_alert", "alert { pulse: 72 }"),
    ] {
        let body = format!(r#"{{"room":"{room}","event":"{event}","data":{{"pulse":72}}}}"#);
        crate::common::eventually("it has subscribed", || {
            server.post("/v1/publish", &body).json()["delivered"] == 1
        });
        client.expect(shown);
    }
}

#[test]
fn topics_report_progress() {
    let (server, document) = topics();
    let page = "const show = (name) => (value) => console.log(name, value);\n\
                const updateProgressBar = show('bar'), updateStatusMessage = show('status');\n\
                const showDownloadLink = show('link'), showErrorMessage = show('error');\n\
                const document = { getElementById: () => ({ set onclick(run) {\n\
                  reportWs.onopen = run;\n\
                } }) };\n";
    let code = at_port(document.code("### Real-time Report Progress", 3), &server);
    let Some((mut client, _folder)) = run("topics_report_progress", &(page.to_owned() + &code)) else {
        return;
    };
    // Nobody here cancels reports.
    client.expect("error Unknown message type: cancel_report");
    for (event, data, shown) in [
        ("report_status", r#"{"progress":75,"message":"Generating"}"#, "bar 75\nstatus Generating"),
        ("report_completed", r#"{"downloadUrl":"/d/report-uuid"}"#, "link /d/report-uuid"),
    ] {
        let body = format!(r#"{{"room":"reports:progress:report-uuid","event":"{event}","data":{data}}}"#);
        assert_eq!(server.post("/v1/publish", &body).json()["delivered"], 1);
        client.expect(shown);
    }
}

#[test]
fn topics_live_stream() {
    let (server, document) = topics();
    let page = "const initializeChart = (data) => console.log('chart', JSON.stringify(data));\n\
                const updateChart = (data) => console.log('update', JSON.stringify(data));\n";
    let code = at_port(document.code("### Live Data Streaming", 3), &server);
    // The document sets the interval where it stands; a socket takes it when it is open.
    let (connect, interval) = code.split_once("// Set 10-second update interval").unwrap();
    let code = format!("{page}{connect}\nstreamWs.onopen = () => {{{interval}}};");
    let Some((mut client, _folder)) = run("topics_live_stream", &code) else { return };
    client.expect("chart []");
    crate::common::eventually("the interval is taken", || {
        server.metric_sum("fanwire_frames_in_total") >= 1.0
    });
    let begin = Instant::now();
    let body =
        r#"{"room":"reports:data:template-uuid","event":"data_update","data":{"value":105,"change":"+5%"}}"#;
    assert_eq!(server.post("/v1/publish", body).json()["delivered"], 1);
    client.expect(r#"update {"value":105,"change":"+5%"}"#);
    // Every ten seconds, as the client has asked: the second waits, and the third takes its place.
    for value in [106, 107] {
        let body = format!(
            r#"{{"room":"reports:data:template-uuid","event":"data_update","data":{{"value":{value}}}}}"#
        );
        assert_eq!(server.post("/v1/publish", &body).json()["delivered"], 1);
    }
    client.expect_within(r#"update {"value":107}"#, Duration::from_secs(30));
    assert!(begin.elapsed() >= Duration::from_secs(9), "{:?}", begin.elapsed());
    assert!(!client.output().contains("106"), "{}", client.output());
}

#[test]
fn topics_progress_tracker() {
    let (server, document) = topics();
    let page = "const document = { getElementById: (id) => ({ style: { set width(width) {\n\
                  console.log(id, width);\n\
                } } }) };\n\
                const tracked = (tracker) => { tracker.showDownloadButton = (id, url) => {\n\
                  console.log('download', id, url);\n\
                }; return tracker; };\n";
    let code = at_port(document.code("### Report Generation Progress Example", 0), &server);
    let code = code.replace("new ReportProgressTracker()", "tracked(new ReportProgressTracker())");
    let Some((mut client, _folder)) = run("topics_progress_tracker", &(page.to_owned() + &code)) else {
        return;
    };
    for (event, data, shown) in [
        ("report_status", r#"{"progress":10,"message":"x"}"#, "10%"),
        ("report_completed", r#"{"downloadUrl":"/d"}"#, "/d"),
    ] {
        for report in ["report-uuid-1", "report-uuid-2"] {
            let body = format!(r#"{{"room":"reports:progress:{report}","event":"{event}","data":{data}}}"#);
            crate::common::eventually("it is followed", || {
                server.post("/v1/publish", &body).json()["delivered"] == 1
            });
            client.expect(&format!("{report} {shown}"));
        }
    }
    crate::common::eventually("it has closed them", || server.metric_sum("fanwire_connections") == 0.0);
}

#[test]
fn topics_connection_manager() {
    let (server, document) = topics();
    let class = document.code("#### 3. Connection Management", 0);
    let code = format!(
        "{class}\n\
         class Manager extends WebSocketManager {{\n\
           onOpen() {{ console.log('open', this.reconnectAttempts); }}\n\
           onError() {{}}\n\
           onMessage(event) {{ console.log(event.data); }}\n\
         }}\n\
         const manager = new Manager('ws://localhost:{}/ws');\n\
         manager.connect();",
        server.addr().port()
    );
    let Some((mut client, _folder)) = run("topics_connection_manager", &code) else { return };
    client.expect("open 0");
    client.expect(r#"{"type":"welcome","data":{"connectionId":""#);
    // Closed for whatever reason that is not its own wish, it comes back: twice, each time by a new connection.
    for attempt in ["open 1", "open 2"] {
        assert_eq!(server.post("/v1/cleanup?idle_s=0", "").json()["closed"], 1);
        client.expect(attempt);
    }
    eventually("it is greeted again", || client.output().matches(r#"{"type":"welcome""#).count() == 3);
}

#[test]
fn topics_error_handling() {
    let (server, document) = topics();
    let connect = format!("const ws = new WebSocket('ws://localhost:{}/ws');\n", server.addr().port());
    let handle = document.code("#### 2. Error Handling", 0);
    let opened = "\nws.onopen = () => console.log('open');\n\
                  ws.addEventListener('close', (event) => console.log('code', event.code));";
    let Some((mut client, _folder)) = run("topics_error_handling", &(connect + handle + opened)) else {
        return;
    };
    client.expect("open");
    server.signal("TERM");
    // RFC 6455 section 7.4.1: 1001 is a server that goes down; a 1000 would not have it reconnect.
    client.expect("code 1001");
    client.expect("WebSocket closed unexpectedly, reconnecting...");
}

#[test]
fn topics_automated_testing() {
    let (server, document) = topics();
    // As much of Jest as the example uses.
    let jest = r"
        const suite = { before: [], after: [], tests: [] };
        const describe = (name, define) => define();
        const beforeEach = (hook) => suite.before.push(hook);
        const afterEach = (hook) => suite.after.push(hook);
        const test = (name, run) => suite.tests.push([name, run]);
        const expect = (value) => ({
            toBeDefined: () => { if (value === undefined) throw new Error('undefined'); },
            toBe: (other) => { if (value !== other) throw new Error(`${value} is not ${other}`); },
        });
    ";
    let run_all = r"
        (async () => {
            for (const [name, run] of suite.tests) {
                suite.before.forEach((hook) => hook());
                await new Promise(run);
                suite.after.forEach((hook) => hook());
                console.log('passed:', name);
            }
        })();
    ";
    let example = at_port(document.code("#### Automated Testing", 0), &server);
    let Some((mut tests, _folder)) = run("topics_automated_testing", &format!("{jest}{example}{run_all}"))
    else {
        return;
    };
    tests.expect("passed: should connect and receive welcome message");
    tests.expect("passed: should subscribe to channel");
}

#[test]
fn topics_manual_testing_with_wscat() {
    let Some(node) = find_program("node") else { return left_out("documents::wscat", "node") };
    let Some(wscat) = npm_package("wscat/bin/wscat") else {
        return left_out("documents::wscat", "the npm package wscat");
    };
    let (server, document) = topics();
    let example = at_port(document.code("#### Manual Testing with wscat", 0), &server);
    let urls: Vec<_> = example.lines().filter_map(|line| line.strip_prefix("wscat -c ")).collect();
    assert_eq!(urls.len(), 2, "{urls:?}");
    let [mut client, mut report] = [urls[0], urls[1]].map(|url| {
        let mut client = Program::start(Command::new(&node).arg(&wscat).args(["-c", url]));
        client.expect("\"type\":\"welcome\"");
        client
    });
    let body = r#"{"room":"reports:progress:report-uuid","event":"report_status","data":{"progress":75}}"#;
    assert_eq!(server.post("/v1/publish", body).json()["delivered"], 1);
    report.expect("\"type\":\"report_status\"");
    let answers = ["\"type\":\"subscribed\",\"channel\":\"test:channel\"", "\"type\":\"pong\""];
    for (say, answer) in example.lines().filter_map(|line| line.strip_prefix("> ")).zip(answers) {
        client.say(say);
        client.expect(answer);
    }
}

#[test]
fn tenants_frontend() {
    let open = r#"[{"path":"/ws","dialect":"tenants","auth":"off"}]"#;
    // The rules of the document ask for a tenant, which nobody has who is not asked.
    let server =
        Server::start(&["--endpoints", open, "--access-rules", r#"[{"room":"tenant:**","who":"any"}]"#]);
    let document = Document::read("tenants-aegisx-platform");
    let page = "const authToken = 'none', tenantId = 'a1';\n\
                const showNotification = (data) => console.log('notification', data);\n\
                const displayMessage = (channel, message) => console.log('message', channel, message);\n";
    let code = at_port(document.code("### Frontend Integration", 0), &server);
    let Some((mut client, _folder)) = run("tenants_frontend", &(page.to_owned() + &code)) else { return };
    client.expect("Connected to WebSocket");
    let mut other = member(&server, r#"{"type":"ping"}"#);
    other.expect_text();
    crate::common::eventually("it has joined", || {
        let room = server.get("/v1/rooms/tenant%3Aa1%3Ageneral");
        room.status == 200 && room.json()["members"] == 1
    });
    other.send_text(r#"{"type":"send_message","data":{"channel":"tenant:a1:general","message":"Hi"}}"#);
    client.expect("message tenant:a1:general Hi");
    let body = r#"{"room":"tenant:a1:general","event":"notification","data":{"title":"News"}}"#;
    assert_eq!(server.post("/v1/publish", body).json()["delivered"], 1);
    client.expect("notification { title: 'News' }");
    drop(server);
    client.expect("WebSocket connection closed");
}

#[test]
fn channels_in_a_browser() {
    let (server, document) = channels();
    let code = at_port(document.code("### Basic Connection", 0), &server);
    let joined =
        r#"Received: {"type":"CHANNEL_JOINED","channel":"notifications","data":{"members":1},"timestamp":""#;
    in_the_browser("documents::channels_in_a_browser", &code, joined);
}

#[test]
fn topics_in_a_browser() {
    let (server, document) = topics();
    let code = at_port(document.code("#### Main WebSocket Connection", 1), &server);
    in_the_browser("documents::topics_in_a_browser", &code, r#"Received: {"type":"pong","timestamp":""#);
}
