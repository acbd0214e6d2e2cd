//! Connection ids look like random UUIDs, and must be as hard to guess: neither the generator's state nor the key that
//! hides where a connection lives follows from ids that a client was given.

use crate::common::{Client, Server, request};
use std::collections::HashSet;

/// Connections that the attacker opens one after the other, all on one shard, so that the node's generator makes no
/// other ids in between.
const OWN: usize = 12;

/// The generator that ids once came from: Marsaglia's xorshift64*.
mod xorshift {
    const MULTIPLIER: u64 = 0x2545_F491_4F6C_DD1D;

    pub fn next(mut state: u64) -> (u64, u64) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state, state.wrapping_mul(MULTIPLIER))
    }

    /// The state after the step that gave an output: one multiplication takes it back.
    pub fn state(output: u64) -> u64 {
        output.wrapping_mul(super::inverse(MULTIPLIER))
    }
}

/// The factor that takes a multiplication by an odd number back (Newton's iteration modulo 2^64).
fn inverse(odd: u64) -> u64 {
    (0..6).fold(odd, |found, _| found.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(found))))
}

/// The 16 bytes that a text of an id stands for.
fn bytes(id: &str) -> [u8; 16] {
    u128::from_str_radix(&id.replace('-', ""), 16).expect("ids are hexadecimal").to_be_bytes()
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// All ids that would come next if `id` held two consecutive outputs of xorshift64*: the last eight bytes the first
/// of them but for the variant's two bits, of the second the bytes 6 and 7 but for the version's four.
fn successors(id: &[u8; 16]) -> Vec<(u64, u64)> {
    let first = word(&id[8..]) & !0xC0;
    let candidates = (0..4_u64).map(|variant| xorshift::state(first | variant << 6));
    let known = 0xFF0F_u64 << 48;
    let fit = candidates.filter_map(|state| {
        let (state, second) = xorshift::next(state);
        (second & known == word(&id[..8]) & known).then(|| {
            let (state, first) = xorshift::next(state);
            (first, xorshift::next(state).1)
        })
    });
    fit.collect()
}

/// Keys under which `id` would be that of `locator`, if the mask of 48 bits were made from the last eight bytes and a
/// key of 64 bits by two multiplications: 2^16 of them, one for each value of the bits that the mask leaves out.
fn keys(id: &[u8; 16], locator: u64) -> impl Iterator<Item = u64> {
    let hidden = id[..6].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let mask = hidden ^ locator;
    let tail = word(&id[8..]);
    let [outer, inner] = [0xBF58_476D_1CE4_E5B9, 0x9E37_79B9_7F4A_7C15].map(inverse);
    (0..1_u64 << 16).map(move |low| {
        let mixed = (mask << 16 | low).wrapping_mul(outer);
        // Takes `x ^ x >> 29` back.
        let mixed = mixed ^ mixed >> 29 ^ mixed >> 58;
        mixed.wrapping_mul(inner) ^ tail
    })
}

#[test]
fn no_id_tells_the_next_one_or_the_key_of_the_node() {
    let server = Server::start(&["--shards=1", "--connections-per-ip-max=0"]);
    let clients: Vec<Client> = (0..OWN).map(|_| server.connect()).collect();
    let ids: Vec<[u8; 16]> = clients.iter().map(|client| bytes(&client.id)).collect();

    for (id, next) in ids.iter().zip(&ids[1..]) {
        let predicted = successors(id).into_iter().any(|(first, second)| {
            first | 0xC0 == word(&next[8..]) | 0xC0 && second >> 56 == word(&next[..8]) >> 56
        });
        assert!(!predicted, "an id tells the one after it");
    }

    // The slots of a shard are given in their order, so a client that comes first knows where it lives.
    let own = keys(&ids[0], 0).collect::<HashSet<_>>();
    assert!(!keys(&ids[1], 1).any(|key| own.contains(&key)), "two ids tell the key of the node");

    let text = |id: &str| (id[14..15].to_owned(), "89ab".contains(&id[19..20]));
    assert!(clients.iter().all(|client| text(&client.id) == ("4".into(), true)), "RFC 9562, version 4");
    for position in 0..16 {
        let seen: HashSet<u8> = ids.iter().map(|id| id[position]).collect();
        assert!(seen.len() > 1, "byte {position} is the same in {OWN} ids");
    }
}

#[test]
fn an_id_that_this_node_did_not_give_finds_no_connection() {
    let server = Server::start(&["--shards=2"]);
    let client = server.connect();
    let status = |id: &str| request(server.addr(), "GET", &format!("/v1/connections/{id}"), &[], b"").status;
    assert_eq!(status(&client.id), 200);
    // One bit more or less anywhere, which leaves it a valid UUID of any version.
    for bit in 0..128 {
        let forged = (u128::from_be_bytes(bytes(&client.id)) ^ 1 << bit).to_be_bytes();
        let text = uuid::Uuid::from_bytes(forged).to_string();
        assert_eq!(status(&text), 404, "bit {bit}");
    }
}
