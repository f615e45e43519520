//! One shard's way to the gate: it remembers which tokens were verified, by their SHA-256, so that a known one costs a hash
//! and no signature, and no lock is shared between cores. Certificates are remembered likewise, though theirs is no
//! hash to make. Forgotten when they end, when the gate is replaced, and the oldest first beyond [`VERIFIED_TOKENS_MAX`].

use super::certified::Certified;
use super::denied::Denied;
use super::gate::Gate;
use super::grants::Grants;
use ring::digest;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Most tokens that one shard remembers: at about a kibibyte each they take 4 MiB.
pub const VERIFIED_TOKENS_MAX: usize = 4_096;

type Digest = [u8; 32];

/// A shard's gate, with what it has verified.
pub struct Door {
    gate: Arc<Gate>,
    verified: HashMap<Digest, Arc<Grants>, foldhash::fast::RandomState>,
    /// The oldest first; as long as `verified`.
    order: VecDeque<Digest>,
    forgotten: u64,
}

impl Door {
    /// A door to this gate that remembers nothing yet.
    pub fn new(gate: Arc<Gate>) -> Door {
        Door { gate, verified: HashMap::default(), order: VecDeque::new(), forgotten: 0 }
    }

    /// The gate, for what is not about a new token.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Puts another gate in place; whatever the old one verified is forgotten.
    pub fn replace(&mut self, gate: Arc<Gate>) {
        self.gate = gate;
        self.verified.clear();
        self.order.clear();
    }

    /// As [`Gate::judge`].
    ///
    /// # Errors
    /// As [`Gate::judge`].
    pub fn judge(&mut self, token: &str, now_s: u64) -> Result<Arc<Grants>, Denied> {
        let mut key = Digest::default();
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        self.judge_once(key, now_s, |gate| gate.judge(token, now_s))
    }

    /// As [`Gate::certified`].
    ///
    /// # Errors
    /// As [`Gate::certified`].
    pub fn certified(&mut self, certified: &Arc<Certified>, now_s: u64) -> Result<Arc<Grants>, Denied> {
        self.judge_once(certified.fingerprint, now_s, |gate| gate.certified(certified, now_s))
    }

    fn judge_once(
        &mut self,
        key: Digest,
        now_s: u64,
        judge: impl FnOnce(&Gate) -> Result<Arc<Grants>, Denied>,
    ) -> Result<Arc<Grants>, Denied> {
        if let Some(grants) = self.verified.get(&key) {
            return self.gate.still_holds(grants, now_s).map(|()| grants.clone());
        }
        let grants = judge(&self.gate)?;
        self.remember(key, &grants);
        Ok(grants)
    }

    /// How many verified tokens were forgotten for others, for the metrics.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn remember(&mut self, key: Digest, grants: &Arc<Grants>) {
        if self.order.len() == VERIFIED_TOKENS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.verified.remove(&oldest);
            self.forgotten += 1;
        }
        self.verified.insert(key, grants.clone());
        self.order.push_back(key);
    }
}
