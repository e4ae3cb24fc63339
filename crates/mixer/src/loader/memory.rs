//! What memory there is for a batch.

/// What Linux says is free without swapping, in bytes; other systems say nothing.
///
/// A system that promises more memory than it has would end the process at the first use of it.
pub(crate) fn available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_says_what_is_free() {
        let free = available_bytes().unwrap();
        assert!(free > 1 << 20 && free < 1 << 50, "{free}");
    }
}
