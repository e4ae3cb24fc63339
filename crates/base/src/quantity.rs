//! Quantities as people write them: counts, shares, token counts.
