//! The compiled half of the Python package `mixdown`.
//!
//! The public modules and their documentation are in python/mixdown; this module is private to them. It reads
//! corpora, plans and fills batches without the interpreter's lock, and passes memory to NumPy without a copy.

mod batch;
mod corpus;
mod failure;
mod filler;
mod loader;
mod mixture;
mod prepare;

use pyo3::prelude::*;

#[pymodule]
fn _mixdown(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<corpus::CorpusCore>()?;
    module.add_class::<mixture::MixtureCore>()?;
    module.add_class::<filler::Filler>()?;
    module.add_class::<loader::BatchLoader>()?;
    module.add_class::<batch::Rows>()?;
    module.add_function(wrap_pyfunction!(mixture::read_mixture, module)?)?;
    module.add_function(wrap_pyfunction!(prepare::prepare, module)?)?;
    Ok(())
}
