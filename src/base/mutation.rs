//! Mistakes made on purpose, each of them plausible, to show that the tests find them: those in the machinery by the
//! simulation in `tests/simulation`, those in a feature by the tests of the documents' rows (`tests/mistakes`). They are
//! in the code only with the feature `mutations`, and never in a release build; otherwise [`mutated`] is a constant.

/// A mistake, named by what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A short write does not mark the connection as blocked.
    ForgetBlocked,
    /// The end of a connection does not give its admission back.
    KeepAdmission,
    /// A publisher is not left out of its own publication.
    DeliverToExcept,
    /// Mail is delivered to whatever room has the slot now.
    TrustRoomSlot,
    /// The last frame of a batch is not delivered.
    DropLastOfBatch,
    /// A tick's new frames go before those that wait.
    WritePastBacklog,
    /// A backlog is charged to the node twice.
    ChargeTwice,
    /// Who moves into the place of a member that left is not told.
    ForgetMovedMember,
    /// A connection's other memberships are not told that one of them has moved.
    ForgetMovedMembership,
    /// A shard does not say that its last member has left.
    KeepInterest,
    /// A shard's interest is stated for its first member's dialect alone, under the wrong bit.
    WrongInterestBit,
    /// The empty list remembers its extension of the tick before.
    KeepMemo,
    /// A list's frames are taken to lie side by side when they do not.
    IgnoreGaps,
    /// Frames cut out of a backlog are not counted.
    ForgetCutFrames,
    /// A cut backlog loses the rest of a frame that has begun.
    CutBegunFrame,
    /// A connection that is being closed stays in its rooms.
    StayInRooms,
    /// A fragmented message starts anew with each fragment.
    ForgetFragments,
    /// A payload of 126 bytes gets a header for less.
    ShortLength,
    /// Nobody is ever pinged.
    ForgetPing,
    /// The `id` of a refused request is not echoed.
    ForgetId,
    /// The bound of an outbox counts only what waits, not what is added.
    CheckBoundLate,
    /// Input is reserved as a frame's header says, before any of it has come.
    ReserveOnWord,
    /// What follows a recovery lacks its first publication.
    SkipInReplay,
    /// Who has been told the past gets what is still in the mailbox once more.
    ForgetAhead,
    /// A recovery succeeds although the first that was missed is not kept any more.
    RecoverTooMuch,
    /// The notice of a loss tells of one, however many there are.
    MiscountLoss,
    /// Of two publications of one key the older one stays.
    KeepOlder,
    /// What waits of a room is not put before the answer that ends the membership.
    ForgetHasten,
    /// Members are not told of who leaves.
    ForgetLeaveNotice,
    /// A decider is not told of the rooms that a connection leaves by its end.
    ForgetLeaves,
    /// A member that has left is still counted in notices.
    CountLeavers,
    /// What a walk has for a blocked member goes before what waits for it.
    WalkPastBacklog,
    /// A walk comes to members that have left.
    WalkToLeavers,
    /// Members that know the past miss the notices that are walked with it.
    WalkWithoutAhead,
    /// A member that recovers loses the notices of the walk under way.
    LeaveWalkWhole,
    /// Broadcasts go to echoes too.
    TellEchoes,
    /// Broadcasts of a client without a tenant go to the tenants' connections too.
    TellTenants,
    /// Silence counts while the thread did not run.
    ForgetSleep,
    /// What an unfinished message held is not given back to the node.
    KeepInput,
    /// The time of a message begins with the first byte of the one before it.
    ForgetFinished,
    /// A message may take for ever.
    ForgetMessageTimeout,
    /// What a room held of the node's bound on memberships is not given back.
    KeepPlace,
    /// A drain closes all connections in its first step.
    DrainAtOnce,
    /// A connection's input is taken in to its end, however long that takes.
    ForgetPause,
    /// A publication is not counted for its room.
    ForgetPublication,
    /// Of the frames that belong together only the first is sent.
    ForgetAttachments,
    /// An answer to the heartbeat of a dialect is not noted.
    ForgetHeartbeat,
    /// What this node has published comes in again as if another node had.
    HearOwnEcho,
    /// What another node published is delivered as often as it comes.
    HearTwice,
    /// What did not come from another node is not told.
    HideRemoteLoss,
    /// What came from another node is handed to the broker.
    HandOnRemote,
    /// The node numbers what the broker numbers.
    NumberHere,
    /// A number that is too high is taken for the next one.
    SkipJump,
    /// The broker is not told of the first member of a room that is kept.
    ForgetFirstMember,
    /// A room that all have left stays.
    KeepEmptyRooms,
    /// What only the backend knows does not go there.
    ForgetForward,
    /// A cleanup closes those who were active, too.
    CleanupAll,
    /// Nothing is compressed, though it was agreed on.
    NeverCompress,
    /// A server that goes down closes with 1000, as if all were said.
    CloseAsNormal,
    /// The number of members is one too many.
    MiscountMembers,
    /// A filter is confirmed and holds nothing back.
    IgnoreFilter,
    /// An interval is confirmed and holds nothing back.
    IgnorePace,
    /// The past that an endpoint sends is empty.
    EmptySnapshot,
    /// A token is taken after its end.
    TakeExpired,
    /// The list of tenants is not looked at.
    AnyTenant,
    /// The role that an endpoint asks for is not looked at.
    AnyRole,
    /// A page of any origin comes in.
    AnyOrigin,
    /// A client publishes to rooms that it is not in, whatever its dialect.
    PublishUnjoined,
    /// An error does not show the message that it is about.
    HideOriginal,
    /// A health check is answered and not closed.
    KeepHealthOpen,
    /// Messages of clients are not logged.
    ForgetReceived,
    /// Everybody gets everything twice.
    DeliverTwice,
    /// Silence ends no connection.
    IgnoreIdle,
    /// No message comes too fast.
    IgnoreRate,
    /// The rooms document's timestamps are in seconds.
    SecondsForMillis,
}

impl Mutation {
    /// Every mistake that the simulation finds.
    pub const ALL: &[Self] = &[
        Self::ForgetBlocked,
        Self::KeepAdmission,
        Self::DeliverToExcept,
        Self::TrustRoomSlot,
        Self::DropLastOfBatch,
        Self::WritePastBacklog,
        Self::ChargeTwice,
        Self::ForgetMovedMember,
        Self::ForgetMovedMembership,
        Self::KeepInterest,
        Self::WrongInterestBit,
        Self::KeepMemo,
        Self::IgnoreGaps,
        Self::ForgetCutFrames,
        Self::CutBegunFrame,
        Self::StayInRooms,
        Self::ForgetFragments,
        Self::ShortLength,
        Self::ForgetPing,
        Self::ForgetId,
        Self::CheckBoundLate,
        Self::ReserveOnWord,
        Self::SkipInReplay,
        Self::ForgetAhead,
        Self::RecoverTooMuch,
        Self::MiscountLoss,
        Self::KeepOlder,
        Self::ForgetHasten,
        Self::ForgetLeaveNotice,
        Self::ForgetLeaves,
        Self::CountLeavers,
        Self::WalkPastBacklog,
        Self::WalkToLeavers,
        Self::WalkWithoutAhead,
        Self::LeaveWalkWhole,
        Self::TellEchoes,
        Self::TellTenants,
        Self::ForgetSleep,
        Self::KeepInput,
        Self::ForgetFinished,
        Self::ForgetMessageTimeout,
        Self::KeepPlace,
        Self::DrainAtOnce,
        Self::ForgetPause,
        Self::ForgetPublication,
        Self::ForgetAttachments,
        Self::ForgetHeartbeat,
    ];

    /// Every mistake at the seam between nodes that the simulation finds.
    pub const CLUSTER: &[Self] = &[
        Self::HearOwnEcho,
        Self::HearTwice,
        Self::HideRemoteLoss,
        Self::HandOnRemote,
        Self::NumberHere,
        Self::SkipJump,
        Self::ForgetFirstMember,
    ];

    /// Every mistake that a test of a row of `tests/documents/checklist.md` finds, see `tests/documents/mistakes.md`.
    pub const FEATURES: &[Self] = &[
        Self::KeepEmptyRooms,
        Self::ForgetForward,
        Self::CleanupAll,
        Self::NeverCompress,
        Self::CloseAsNormal,
        Self::MiscountMembers,
        Self::IgnoreFilter,
        Self::IgnorePace,
        Self::EmptySnapshot,
        Self::TakeExpired,
        Self::AnyTenant,
        Self::AnyRole,
        Self::AnyOrigin,
        Self::PublishUnjoined,
        Self::HideOriginal,
        Self::KeepHealthOpen,
        Self::ForgetReceived,
        Self::DeliverTwice,
        Self::IgnoreIdle,
        Self::IgnoreRate,
        Self::SecondsForMillis,
    ];
}

/// The variable that names the mistake of a whole process.
#[cfg(all(feature = "mutations", debug_assertions))]
pub const MUTATION_VARIABLE: &str = "FANWIRE_MUTATION";

#[cfg(all(feature = "mutations", debug_assertions))]
thread_local! {
    /// The mistake that this thread makes.
    static MADE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Chooses the mistake that this thread makes from now on.
#[cfg(all(feature = "mutations", debug_assertions))]
pub fn mutate(mutation: Option<Mutation>) {
    MADE.set(mutation);
}

/// Whether to make that mistake here.
#[cfg(all(feature = "mutations", debug_assertions))]
pub fn mutated(mutation: Mutation) -> bool {
    MADE.get().or_else(of_process) == Some(mutation)
}

/// The mistake that [`MUTATION_VARIABLE`] names.
#[cfg(all(feature = "mutations", debug_assertions))]
fn of_process() -> Option<Mutation> {
    static NAMED: std::sync::OnceLock<Option<Mutation>> = std::sync::OnceLock::new();
    *NAMED.get_or_init(|| {
        let name = std::env::var(MUTATION_VARIABLE).ok()?;
        let mut all = Mutation::ALL.iter().chain(Mutation::FEATURES).copied();
        Some(all.find(|it| format!("{it:?}") == name).unwrap_or_else(|| panic!("there is no mistake {name}")))
    })
}

/// Whether to make that mistake here: never.
#[cfg(not(all(feature = "mutations", debug_assertions)))]
#[inline(always)]
pub const fn mutated(_: Mutation) -> bool {
    false
}
