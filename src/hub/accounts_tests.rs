use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::thread;

fn who(tenant: Option<&str>, user: Option<&str>) -> Identity {
    Identity { user: user.map(Box::from), tenant: tenant.map(Box::from), ..Identity::default() }
}

fn limits(user: u32, tenant: u32) -> Limits {
    let of = |max: u32| AccountLimits {
        connections_max: max,
        rooms_max: max,
        messages_per_s: max,
        messages_burst: 0,
        outbox_bytes_max: max as usize * 100,
    };
    Limits { per_user: of(user), per_tenant: of(tenant), ..Limits::default() }
}

#[test]
fn connections_are_counted_for_user_and_tenant() {
    let (accounts, limits) = (Accounts::default(), limits(2, 3));
    let enter = |tenant, user| accounts.enter(&who(Some(tenant), user), &limits);
    let (first, _second) = (enter("t", Some("u")).unwrap(), enter("t", Some("u")).unwrap());
    assert_eq!(enter("t", Some("u")).err(), Some(Party::User));
    let _third = enter("t", Some("v")).unwrap();
    assert_eq!(enter("t", Some("w")).err(), Some(Party::Tenant));
    assert_eq!(enter("t", None).err(), Some(Party::Tenant), "a tenant's connection without user counts too");
    assert_eq!(accounts.counts(), (2, 1), "who was refused leaves nothing behind");
    // The same name in another tenant, and in none, is somebody else.
    let _other = enter("t1", Some("u")).unwrap();
    let _none = accounts.enter(&who(None, Some("u")), &limits).unwrap();
    assert_eq!(accounts.counts(), (4, 2));
    drop(first);
    assert!(enter("t", Some("w")).is_ok());
    assert!(matches!(accounts.enter(&Identity::default(), &limits), Ok(None)), "nobody is not counted");
}

#[test]
fn what_is_there_anyway_is_counted_over_the_limit() {
    let (accounts, limits) = (Accounts::default(), limits(1, 1));
    let identity = who(Some("t"), Some("u"));
    let held: Vec<_> = (0..3).map(|_| accounts.enter_anyway(&identity).unwrap()).collect();
    held[0].bring(2, 150);
    assert_eq!(accounts.enter(&identity, &limits).err(), Some(Party::User));
    assert_eq!((held[1].join(&limits), held[1].take(&limits, 1)), (Err(Party::User), false));
    assert_eq!(held[1].space(&limits), 0);
    held[0].left(2);
    held[0].each().for_each(|account| account.give(150));
    assert_eq!((held[1].join(&limits), held[1].space(&limits)), (Ok(()), 100));
    drop(held);
    assert_eq!(accounts.counts(), (0, 0));
}

#[test]
fn what_is_brought_along_is_within_the_limits_or_nothing_of_it_counts() {
    let (accounts, mut limits) = (Accounts::default(), limits(5, 9));
    limits.per_tenant.rooms_max = 7;
    let enter = |user| accounts.enter(&who(Some("t"), Some(user)), &limits).unwrap().unwrap();
    let (u, v) = (enter("u"), enter("v"));
    let counts =
        |held: &Holding| held.each().map(|it| (it.memberships(), it.outbox_bytes())).collect::<Vec<_>>();
    assert_eq!(u.bring_within(&limits, 6, 0), Err(Refusal::TooManyRoomsOfUser));
    assert_eq!(u.bring_within(&limits, 5, 501), Err(Refusal::UserOutboxFull));
    assert_eq!(counts(&u), [(0, 0), (0, 0)]);
    assert_eq!(u.bring_within(&limits, 5, 500), Ok(()));
    assert_eq!(v.bring_within(&limits, 3, 0), Err(Refusal::TooManyRoomsOfTenant));
    assert_eq!(v.bring_within(&limits, 2, 401), Err(Refusal::TenantOutboxFull));
    assert_eq!((counts(&u), counts(&v)), (vec![(5, 500), (5, 500)], vec![(0, 0), (5, 500)]));
    assert_eq!(v.bring_within(&limits, 2, 400), Ok(()));
    assert_eq!(counts(&v), [(2, 400), (7, 900)]);
}

#[test]
fn what_the_tenant_refuses_costs_the_user_nothing() {
    let (accounts, limits) = (Accounts::default(), limits(5, 1));
    let held = accounts.enter(&who(Some("t"), Some("u")), &limits).unwrap().unwrap();
    assert_eq!((held.join(&limits), held.join(&limits)), (Ok(()), Err(Party::Tenant)));
    assert!(held.take(&limits, 100) && !held.take(&limits, 1));
    assert!(held.has_place(&limits, 1, 1) && !held.has_place(&limits, 1, 0));
    let counts: Vec<_> = held
        .each()
        .map(|account| (account.connections(), account.memberships(), account.outbox_bytes()))
        .collect();
    assert_eq!(counts, [(1, 1, 100), (1, 1, 100)]);
}

#[test]
fn connections_share_a_rate() {
    const NOW: u64 = 1_000_000_000;
    let (accounts, limits) = (Accounts::default(), limits(2, 4));
    let [a, b, other, last] = ["u", "u", "v", "w"]
        .map(|user| accounts.enter(&who(Some("t"), Some(user)), &limits).unwrap().unwrap());
    let send = |held: &Holding, now| held.may_send(&limits, now, now);
    assert_eq!([send(&a, NOW), send(&b, NOW)], [Ok(()); 2]);
    assert_eq!([send(&a, NOW), send(&b, NOW)], [Err(Party::User); 2]);
    assert_eq!([&other, &other, &last].map(|held| send(held, NOW)), [Ok(()), Ok(()), Err(Party::Tenant)]);
    // A second later there is a second's worth again.
    assert_eq!([send(&a, 2 * NOW), send(&last, 2 * NOW)], [Ok(()); 2]);
}

#[test]
fn a_note_of_a_large_backlog_is_had_once_and_by_others() {
    let accounts = Accounts::default();
    let held = accounts.enter_anyway(&who(None, Some("u"))).unwrap();
    let account = held.each().next().unwrap();
    account.note_backlog(3, 500);
    account.note_backlog(1, 400);
    assert_eq!(account.claim_largest(0, 500), None, "no larger than what would be");
    assert_eq!((account.claim_largest(0, 499), account.claim_largest(0, 0)), (Some(3), None));
    account.note_backlog(3, 500);
    assert_eq!(account.claim_largest(3, 0), None, "it knows better");
    assert_eq!(account.claim_largest(0, 0), None, "and so it is forgotten");
}

#[test]
fn memory_is_as_tuning_md_says() {
    // Each in an Arc, with its two counts.
    assert_eq!((size_of::<Account>() + 16, size_of::<Holding>() + 16), (112, 40));
}

#[derive(Debug, Clone)]
enum Act {
    Enter { user: u8 },
    Leave { index: usize },
    Join { index: usize },
    Part { index: usize },
    Take { index: usize, bytes: usize },
    Give { index: usize },
}

fn act() -> impl Strategy<Value = Act> {
    let index = || any::<usize>();
    prop_oneof![
        (0..6u8).prop_map(|user| Act::Enter { user }),
        index().prop_map(|index| Act::Leave { index }),
        index().prop_map(|index| Act::Join { index }),
        index().prop_map(|index| Act::Part { index }),
        (index(), 1..200usize).prop_map(|(index, bytes)| Act::Take { index, bytes }),
        index().prop_map(|index| Act::Give { index }),
    ]
}

/// One connection with what it has taken.
struct Mine {
    holding: Arc<Holding>,
    tenant: &'static str,
    user: String,
    memberships: u32,
    bytes: usize,
}

/// User and tenant `number` is of; six users of two tenants, two of which have the same name in both.
fn person(number: u8) -> (&'static str, String) {
    (if number < 3 { "a" } else { "b" }, (number % 3).to_string())
}

impl Mine {
    fn give_all(&mut self) {
        self.holding.left(self.memberships);
        self.holding.each().for_each(|account| account.give(self.bytes));
        (self.memberships, self.bytes) = (0, 0);
    }
}

/// Does `act`. Returns whether it was allowed, if that is a question.
fn step(accounts: &Accounts, limits: &Limits, mine: &mut Vec<Mine>, act: &Act) -> Option<bool> {
    let at = |index: usize, len: usize| (len > 0).then(|| index % len);
    match *act {
        Act::Enter { user } => {
            let (tenant, user) = person(user);
            let holding = accounts.enter(&who(Some(tenant), Some(&user)), limits);
            let entered = holding.is_ok();
            let holding = holding.ok().flatten();
            mine.extend(holding.map(|holding| Mine { holding, tenant, user, memberships: 0, bytes: 0 }));
            Some(entered)
        }
        Act::Leave { index } => {
            let mut gone = mine.swap_remove(at(index, mine.len())?);
            gone.give_all();
            None
        }
        Act::Join { index } => {
            let one = at(index, mine.len()).map(|at| &mut mine[at])?;
            let joined = one.holding.join(limits).is_ok();
            one.memberships += u32::from(joined);
            Some(joined)
        }
        Act::Part { index } => {
            let one = at(index, mine.len()).map(|at| &mut mine[at]).filter(|one| one.memberships > 0)?;
            one.memberships -= 1;
            one.holding.left(1);
            None
        }
        Act::Take { index, bytes } => {
            let one = at(index, mine.len()).map(|at| &mut mine[at])?;
            let taken = one.holding.take(limits, bytes);
            one.bytes += if taken { bytes } else { 0 };
            Some(taken)
        }
        Act::Give { index } => {
            let one = at(index, mine.len()).map(|at| &mut mine[at])?;
            one.holding.each().for_each(|account| account.give(one.bytes));
            one.bytes = 0;
            None
        }
    }
}

/// What a model that counts everything anew says of `act`.
fn expected(limits: &Limits, mine: &[Mine], act: &Act) -> Option<bool> {
    let fits = |tenant: &str, user: &str, of: &dyn Fn(&Mine) -> usize, more: usize, max: usize| {
        let (max_user, max_tenant) =
            (limits.per_user.rooms_max as usize, limits.per_tenant.rooms_max as usize);
        let of_tenant: usize = mine.iter().filter(|one| one.tenant == tenant).map(of).sum();
        let of_user: usize = mine.iter().filter(|one| one.tenant == tenant && one.user == user).map(of).sum();
        Some(of_user + more <= max_user * max && of_tenant + more <= max_tenant * max)
    };
    let at = |index: usize| (!mine.is_empty()).then(|| &mine[index % mine.len()]);
    match *act {
        Act::Enter { user } => {
            let (tenant, user) = person(user);
            fits(tenant, &user, &|_| 1, 1, 1)
        }
        Act::Join { index } => {
            let one = at(index)?;
            fits(one.tenant, &one.user, &|one| one.memberships as usize, 1, 1)
        }
        Act::Take { index, bytes } => {
            let one = at(index)?;
            fits(one.tenant, &one.user, &|one| one.bytes, bytes, 100)
        }
        Act::Leave { .. } | Act::Part { .. } | Act::Give { .. } => None,
    }
}

proptest! {
    #[test]
    fn every_answer_is_that_of_a_model_that_counts_anew(acts in prop::collection::vec(act(), 1..200)) {
        let (accounts, limits) = (Accounts::default(), limits(3, 5));
        let mut mine = Vec::new();
        for act in &acts {
            let expected = expected(&limits, &mine, act);
            prop_assert_eq!(step(&accounts, &limits, &mut mine, act), expected, "{:?}", act);
        }
        let people: HashMap<_, u32> = mine.iter().fold(HashMap::new(), |mut people, one| {
            *people.entry((one.tenant, one.user.as_str())).or_default() += 1;
            people
        });
        prop_assert_eq!(accounts.counts().0 as usize, people.len());
        mine.iter_mut().for_each(Mine::give_all);
        drop(mine);
        prop_assert_eq!(accounts.counts(), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn threads_that_meet_pass_no_limit_and_lose_nothing(
        acts in prop::collection::vec(prop::collection::vec(act(), 50..400), 4),
    ) {
        let (accounts, limits) = (Accounts::default(), limits(3, 5));
        // One connection of each tenant stays, so that the counts of both can be read all the time.
        let watched: Vec<_> =
            ["a", "b"].map(|tenant| accounts.enter_anyway(&who(Some(tenant), None)).unwrap()).into();
        thread::scope(|scope| {
            for acts in &acts {
                let (accounts, limits, watched) = (&accounts, &limits, &watched);
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for act in acts {
                        step(accounts, limits, &mut mine, act);
                        for account in watched.iter().flat_map(|held| held.each()) {
                            assert!(account.connections() <= 5 && account.memberships() <= 5);
                            assert!(account.outbox_bytes() <= 500);
                        }
                    }
                    mine.iter_mut().for_each(Mine::give_all);
                });
            }
        });
        for account in watched.iter().flat_map(|held| held.each()) {
            prop_assert_eq!((account.connections(), account.memberships(), account.outbox_bytes()), (1, 0, 0));
        }
        prop_assert_eq!(accounts.counts(), (0, 2));
        // And all places can be had again.
        let again: Vec<_> =
            (0..4).map(|n| accounts.enter(&who(Some("a"), Some(&n.to_string())), &limits).unwrap()).collect();
        prop_assert_eq!(again.len(), 4);
        prop_assert_eq!(accounts.enter(&who(Some("a"), Some("4")), &limits).err(), Some(Party::Tenant));
    }
}
