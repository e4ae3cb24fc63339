//! Files that are either absent or whole.
