//! What the filters of a shard's clients let pass. Filters and what they say belong to the node (see
//! [`crate::hub::Filters`]); a shard remembers what it has asked the node, so that it asks once for a publication and
//! filter, however many encodings the publication has and however many steps a wide room takes.

use crate::dialect::dialect;
use crate::hub::{DataHash, Fields, FilterId, Hub, NoFilter, RoomLog, Stored};
use crate::metrics::ShardMetrics;
use crate::model::DialectId;
use crate::shard::fanout::bundle::Ready;
use crate::shard::turn::price;
use crate::wire::Inflater;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::Arc;

/// Verdicts that are remembered, at some 25 bytes each: as many as fill a table of 4,096 places. What is forgotten is
/// asked of the node again, not found out again.
const VERDICTS_MAX: usize = 3584;

/// The filters of a shard's connections.
pub(in crate::shard) struct FilterDesk {
    hub: Arc<Hub>,
    metrics: Arc<ShardMetrics>,
    /// Connections of the shard that have a filter.
    users: usize,
    verdicts: HashMap<(DataHash, FilterId), bool, RandomState>,
    /// Of the frame that is being looked at, the hash of its `data`, if it has any; `None` before the first look.
    frame: Option<Option<DataHash>>,
    inflater: Inflater,
}

impl FilterDesk {
    /// No connection has a filter yet.
    pub fn new(hub: Arc<Hub>, metrics: Arc<ShardMetrics>) -> Self {
        let (users, verdicts) = (0, HashMap::default());
        Self { hub, metrics, users, verdicts, frame: None, inflater: Inflater::default() }
    }

    /// One more connection has the filter that `raw` describes. `None` if that lets all pass.
    ///
    /// # Errors
    /// If it is no filter.
    pub fn take(&mut self, raw: &str) -> Result<Option<FilterId>, NoFilter> {
        let id = self.hub.filters.take(raw)?;
        self.users += usize::from(id.is_some());
        Ok(id)
    }

    /// One connection less has a filter.
    pub fn give(&mut self, id: Option<FilterId>) {
        let Some(id) = id else { return };
        self.hub.filters.give(id);
        self.users -= 1;
        if self.users == 0 {
            self.verdicts = HashMap::default();
        }
    }

    /// Another frame is looked at from now on.
    pub fn next_frame(&mut self) {
        self.frame = None;
    }

    /// Whether a filter lets the publication of the present frame pass.
    pub fn lets_frame_pass(&mut self, id: FilterId, of: DialectId, frame: Ready<'_>) -> bool {
        if let Some(data) = self.frame
            && let Some(passes) = data.map_or(Some(false), |data| self.verdict(id, data, None))
        {
            return passes;
        }
        // Out of here for as long as the text lies in its buffer.
        let mut inflater = std::mem::take(&mut self.inflater);
        let text = match frame.text_at.readable(frame.bytes) {
            Some(text) => std::str::from_utf8(text).ok(),
            None => frame.text_at.compressed_of(frame.bytes).and_then(|text| inflater.inflate_own(text)),
        };
        let data = text.and_then(|text| dialect(of).data_in(text));
        let hash = data.map(|data| self.hub.filters.hash(data));
        let passes = hash.and_then(|hash| self.verdict(id, hash, data)).unwrap_or(false);
        self.frame = Some(hash);
        self.inflater = inflater;
        passes
    }

    /// The publications of a page of a history that a filter lets pass, in order, and what it cost to find out. Not to be
    /// called with a log locked: what no filter has asked about before is read here.
    pub fn pass(
        &self,
        id: FilterId,
        log: &RoomLog,
        mut page: Vec<(u64, Arc<Stored>)>,
    ) -> (Vec<(u64, Arc<Stored>)>, u64) {
        let Some(wanted) = self.hub.filters.wanted(id) else { return (Vec::new(), 0) };
        let mut work = price::LOOKED_AT * page.len() as u64;
        let mut read = Vec::new();
        page.retain(|(offset, stored)| {
            let (fields, cost) = self.fields_of(stored);
            if cost > 0 {
                work += cost;
                read.push((*offset, stored.clone()));
            }
            fields.have(&wanted)
        });
        if !read.is_empty() {
            self.hub.directory.count_fields(log, &read);
        }
        (page, work)
    }

    /// Reads the fields of publications of a history, in order until that has cost `most`, and of one at the least. What
    /// it cost, and whether those of all are read. Not to be called with a log locked.
    pub fn read_ahead(&self, log: &RoomLog, page: &[(u64, Arc<Stored>)], most: u64) -> (u64, bool) {
        let (mut work, mut read) = (0, 0);
        for (_, stored) in page {
            if work >= most && read > 0 {
                break;
            }
            work += self.fields_of(stored).1;
            read += 1;
        }
        if read > 0 {
            self.hub.directory.count_fields(log, &page[..read]);
        }
        (work, read == page.len())
    }

    /// The fields of a publication of a history, and what it cost if they were read for this.
    fn fields_of<'s>(&self, stored: &'s Stored) -> (&'s Fields, u64) {
        let (fields, is_new) = stored.fields(&self.hub.filters);
        let cost = price::FIELD * fields.len() as u64 + 2 * stored.text_bytes() as u64;
        (fields, if is_new { cost } else { 0 })
    }

    /// What a filter says of the `data` of that hash. `None` if only the `data` itself can tell.
    fn verdict(&mut self, id: FilterId, of: DataHash, data: Option<&str>) -> Option<bool> {
        if let Some(passes) = self.verdicts.get(&(of, id)) {
            return Some(*passes);
        }
        let verdict = self.hub.filters.verdict(id, of, data)?;
        self.metrics.filter_evaluations.add(u64::from(verdict.is_new));
        if self.verdicts.len() >= VERDICTS_MAX {
            self.verdicts.clear();
        }
        self.verdicts.insert((of, id), verdict.passes);
        Some(verdict.passes)
    }
}
