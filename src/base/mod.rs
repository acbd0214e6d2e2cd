//! What every other part may use and what knows nothing of them.
