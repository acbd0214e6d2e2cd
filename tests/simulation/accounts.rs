//! What tenants have together: in half of the worlds most connections are of some tenant, and whatever becomes of them,
//! the counts of these are the sums of what the connections have. No limit is met, as the model knows of none. Where
//! nothing is walked the connections know their tenants as well, whose borders no broadcast of a client crosses.

use super::plan::Plan;
use fanwire::config::AccountLimits;
use fanwire::hub::{Holding, Hub};
use fanwire::model::Identity;
use fanwire::shard::Inspection;
use std::sync::Arc;

/// Tenants. One connection in so many more is nobody's.
pub const TENANTS: usize = 3;

/// A place in the account of each tenant, by which it can be looked at and is never gone. None where they do not count.
pub struct Tenants(Vec<Arc<Holding>>);

/// Has tenants counted in every other world.
pub fn limit(plan: &mut Plan) {
    if !plan.clients.is_multiple_of(2) {
        let limits = &mut plan.config.limits.per_tenant;
        let messages_per_s = 1 << 20;
        let (rooms_max, outbox_bytes_max) = (1 << 20, 1 << 40);
        *limits = AccountLimits { rooms_max, outbox_bytes_max, messages_per_s, ..AccountLimits::default() };
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

    /// The tenant that the next connection knows, by number.
    pub fn tenant(&self, plan: &Plan, index: usize) -> Option<usize> {
        let number = index % (TENANTS + 1);
        self.0.get(number).filter(|_| plan.wide.is_none()).map(|_| number)
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

/// Who a connection of a tenant is.
pub fn identity(number: usize) -> Identity {
    Identity { tenant: Some(number.to_string().into()), ..Identity::default() }
}

fn enter(hub: &Hub, number: usize) -> Arc<Holding> {
    hub.accounts.enter_anyway(&identity(number)).expect("it has a name")
}
