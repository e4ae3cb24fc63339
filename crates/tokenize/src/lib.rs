//! Documents to a token corpus, in parallel, with the same bytes for any number of threads.
