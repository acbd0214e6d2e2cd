//! What tenants have together: in half of the worlds most connections are of some tenant, and whatever becomes of them,
//! the counts of these are the sums of what the connections have. No limit is met, as the model knows of none.

use super::plan::Plan;
use fanwire::config::AccountLimits;
use fanwire::hub::{Holding, Hub};
use fanwire::model::Identity;
use fanwire::shard::Inspection;
use std::sync::Arc;

/// Tenants. One connection in so many more is nobody's.
const TENANTS: usize = 3;

/// A place in the account of each tenant, by which it can be looked at and is never gone. None where they do not count.
pub struct Tenants(Vec<Arc<Holding>>);

/// Has tenants counted in every other world.
pub fn limit(plan: &mut Plan) {
    if !plan.clients.is_multiple_of(2) {
        let limits = &mut plan.config.limits.per_tenant;
        *limits = AccountLimits { rooms_max: 1 << 20, outbox_bytes_max: 1 << 40, ..AccountLimits::default() };
    }
}

impl Tenants {
    pub fn new(plan: &Plan, hub: &Hub) -> Self {
        let numbers = (0..TENANTS).filter(|_| plan.config.limits.has_accounts());
        Self(numbers.map(|number| enter(hub, number)).collect())
    }

    /// The place of the next connection.
    pub fn holding(&self, hub: &Hub, index: usize) -> Option<Arc<Holding>> {
        let number = index % (TENANTS + 1);
        self.0.get(number).map(|_| enter(hub, number))
    }

    /// Compares the counts with the connections that live, by their numbers, and what was seen of them.
    pub fn check(&self, live: impl Iterator<Item = usize> + Clone, seen: &[Option<Inspection>]) {
        for (number, tenant) in self.0.iter().enumerate() {
            let own = live.clone().filter(|index| index % (TENANTS + 1) == number);
            let connections = own.clone().count();
            // What has just come was not looked at and has nothing.
            let own: Vec<&Inspection> = own.filter_map(|index| seen[index].as_ref()).collect();
            let rooms: usize = own.iter().map(|seen| seen.rooms).sum();
            let bytes: usize = own.iter().map(|seen| seen.backlog_bytes).sum();
            for account in tenant.each() {
                assert_eq!(account.connections() as usize, connections + 1, "connections of tenant {number}");
                assert_eq!(account.memberships() as usize, rooms, "memberships of tenant {number}");
                assert_eq!(account.outbox_bytes(), bytes, "bytes that wait for tenant {number}");
            }
        }
    }
}

fn enter(hub: &Hub, number: usize) -> Arc<Holding> {
    let identity = Identity { tenant: Some(number.to_string().into()), ..Identity::default() };
    hub.accounts.enter_anyway(&identity).expect("it has a name")
}
