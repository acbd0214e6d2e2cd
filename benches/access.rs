//! What one check of the rules for access takes by the clock: "well under a microsecond" is promised.
//!
//! ```text
//! cargo bench --bench access
//! ```
//!
//! A check is `Access::check`: which rules speak of the room, and whether they let this identity do it. Measured against
//! each preset's table, with rooms that it gives and rooms that it refuses, the longest name among them, and against the
//! last of 100 rules whose patterns begin alike. The time is that of rounds of [`CHECKS`] checks, divided by them. Fails
//! where the median of the rounds is over [`NS_MAX`], in a release build. Instructions, which are the same on every
//! machine, are counted by the bench `instructions`.

use fanwire::auth::Access;
use fanwire::base::Pattern;
use fanwire::config::{AccessDefault, AccessRule, AccessTable, Action, Actions, Who};
use fanwire::model::{Identity, RoomName};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

/// The most that a check may take, in nanoseconds.
const NS_MAX: f64 = 1000.0;

const ROUNDS: usize = 300;
const CHECKS: u32 = 1000;

/// Rules of the large table.
const RULES: usize = 100;

/// A name of a room as long as one may be, of as many segments as fit.
fn longest(start: &str) -> String {
    let mut name = start.to_owned();
    while name.len() + 2 <= RoomName::BYTES_MAX {
        name.push_str(":s");
    }
    name
}

fn main() -> ExitCode {
    let presets = [
        ("none", AccessTable::protected()),
        ("rooms, channels", AccessTable::open()),
        ("topics", AccessTable::topics()),
        ("tenants", AccessTable::tenants()),
    ];
    let rooms = [
        "tenant:acme-corporation:general".to_owned(),
        "user:a-user:alerts".to_owned(),
        "notifications:acme-corporation:a-user:all".to_owned(),
        "tenant:acme-corporation-too:general".to_owned(),
        "admin:everything".to_owned(),
        "chat:general".to_owned(),
        longest("tenant:acme-corporation"),
        longest("notifications:acme-corporation:a-user"),
    ];
    let identity = Identity {
        user: Some("a-user".into()),
        tenant: Some("acme-corporation".into()),
        roles: ["editor".into()].into_iter().collect(),
        ..Identity::default()
    };
    println!("{:<16} {:<42} {:>7} {:>10} {:>9}", "preset", "room", "", "median, ns", "least, ns");
    let mut over = 0;
    let mut row = |preset: &str, access: &Access, room: &str| {
        let [least, median] = times(access, &identity, room);
        let given = access.check(Some(&identity), room, Action::Subscribe).is_ok();
        let given = if given { "given" } else { "refused" };
        let shown = if room.len() > 42 {
            format!("{}… ({} bytes)", &room[..28], room.len())
        } else {
            room.to_owned()
        };
        println!("{preset:<16} {shown:<42} {given:>7} {median:>10.0} {least:>9.0}");
        over += u32::from(median > NS_MAX);
    };
    for (preset, table) in &presets {
        let access = Access::new(table);
        rooms.iter().for_each(|room| row(preset, &access, room));
    }
    let access = Access::new(&large());
    row("last of 100", &access, &format!("app:service-{}:acme-corporation:general", RULES - 1));
    row("last of 100", &access, &longest(&format!("app:service-{}:acme-corporation", RULES - 1)));
    match over {
        0 => ExitCode::SUCCESS,
        _ if cfg!(debug_assertions) => {
            println!("{over} over {NS_MAX} ns, which holds for release builds only");
            ExitCode::SUCCESS
        }
        _ => {
            println!("{over} over {NS_MAX} ns");
            ExitCode::FAILURE
        }
    }
}

/// As many rules as [`RULES`] says, told apart by their second segment.
fn large() -> AccessTable {
    let rule = |number| {
        let text = format!("app:service-{number}:{{tenant}}:**");
        let pattern = Pattern::parse_capturing(&text, &AccessRule::CAPTURES).expect("a pattern");
        AccessRule { pattern, who: vec![Who::Any], allow: Actions::ALL, text: None }
    };
    AccessTable { rules: (0..RULES).map(rule).collect(), default: AccessDefault::Deny }
}

/// The least time of a check, and the median of all rounds, in nanoseconds.
fn times(access: &Access, identity: &Identity, room: &str) -> [f64; 2] {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CHECKS {
                let checked = access.check(black_box(Some(identity)), black_box(room), Action::Subscribe);
                black_box(checked.is_ok());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(CHECKS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    [rounds[0], rounds[ROUNDS / 2]]
}
