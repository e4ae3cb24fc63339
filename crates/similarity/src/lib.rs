//! Near-duplicate texts: shingles of words, MinHash sketches, and an index of sketches.
//!
//! The similarity of two texts is the Jaccard similarity of their sets of *shingles*: all runs of five consecutive
//! words ([`Shingles`]). A [`Sketch`] of 128 bytes estimates it without the text, and a [`SketchIndex`] finds those of
//! many sketches that are similar to a given one.
//!
//! Every hash is fixed, so that sketches can be kept on disk and compared across machines and versions.
//!
//! ```
//! use mixdown_similarity::{Shingles, Sketcher};
//!
//! let words: Vec<String> = (0..200).map(|number| format!("word{number}")).collect();
//! let (text, mut edited) = (words.join(" "), words.clone());
//! edited[100] = "another".to_owned();
//! let edited = edited.join(" ");
//!
//! // Five of 196 shingles differ on each side: 191 / 201.
//! let exact = Shingles::of(&text).jaccard(&Shingles::of(&edited));
//! assert!((exact - 191.0 / 201.0).abs() < 1e-12);
//!
//! let mut sketcher = Sketcher::default();
//! let [first, second] = [&text, &edited].map(|text| sketcher.sketch(text).unwrap());
//! assert!((first.jaccard(&second) - exact).abs() < 0.1);
//! ```

mod clusters;
mod index;
mod shingles;
mod sketch;
mod words;

pub use clusters::{Clusters, SketchStore};
pub use index::SketchIndex;
pub use shingles::Shingles;
pub use sketch::{Sketch, Sketcher};
