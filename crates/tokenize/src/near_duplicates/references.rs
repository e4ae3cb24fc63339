//! Texts that training must not repeat: the held-out part of other corpora, and the texts of benchmarks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mixdown_documents::{DocumentReader, InputList, Place, ReadOptions};
use mixdown_shards::{Access, Corpus, Fingerprint, Manifest, Split};
use mixdown_similarity::{Shingles, Sketch, SketchIndex, Sketcher};
use serde::{Deserialize, Serialize};

use crate::encode::text_hash::text_hash;
use crate::error::Error;
use crate::near_duplicates::{
    COMPARED_AT_MOST, INDEXED_AT_ONCE, Probe, SketchedDocuments, TextEnds, TextPlace,
};
use crate::plan::Plan;
use crate::plan::holdout::HoldoutLimit;
use crate::spill::work_file::json_fingerprint;
use crate::spill::{DocumentRow, as_u64};
use crate::tokenizer::Tokenizer;

/// A corpus or some files that training must not repeat, as the manifest records them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReferenceRecord {
    /// The last part of the path.
    pub(crate) name: String,
    /// The fingerprint of the corpus, or the hash of the files' names, sizes and ends.
    pub(crate) fingerprint: Fingerprint,
}

/// Where the texts are.
enum Reference {
    Corpus(PathBuf),
    Files(InputList),
}

/// The corpora and files that training must not repeat, unread.
pub(crate) struct References {
    references: Vec<Reference>,
    pub(crate) records: Vec<ReferenceRecord>,
}

/// A document that is left out, and the text that it repeats.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExcludedDocument {
    pub(crate) key: u128,
    pub(crate) place: Place,
    /// The hash by which the document was held out, if it was.
    pub(crate) unit: Option<u64>,
    /// The number of the reference (`None` for the corpus' own holdout), and of the text in it.
    pub(crate) reference: Option<usize>,
    pub(crate) text: u64,
    /// The estimated similarity.
    pub(crate) similarity: f64,
}

/// A text of a reference.
#[derive(Debug, Clone, Copy)]
struct ReferenceText {
    reference: usize,
    number: u64,
    sketch: Sketch,
}

/// Texts that have been read, and what is needed to compare them.
struct ReadTexts {
    texts: Vec<ReferenceText>,
    sources: Vec<TextSource>,
}

/// Where the shingles of a text come from.
enum TextSource {
    Corpus(Box<(Corpus, Tokenizer)>),
    /// A corpus with sketches whose tokenizer is missing: the sketches alone decide.
    Sketches,
    Files(Vec<Shingles>),
    /// Documents of the corpus that is being prepared.
    Parts(Vec<TextPlace>),
}

impl References {
    /// Finds the references at the paths: a folder with a manifest is a corpus.
    pub(crate) fn find(paths: &[PathBuf], read: &ReadOptions) -> Result<Self, Error> {
        let (mut references, mut records) = (Vec::new(), Vec::new());
        for path in paths {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            if path.join(Manifest::FILE).exists() {
                let fingerprint = Manifest::read(path)?.fingerprint;
                references.push(Reference::Corpus(path.clone()));
                records.push(ReferenceRecord { name, fingerprint });
            } else {
                let list = InputList::discover_with(std::slice::from_ref(path), read)?;
                let fingerprint = json_fingerprint(path, &Plan::inputs_of(&list)?)?;
                references.push(Reference::Files(list));
                records.push(ReferenceRecord { name, fingerprint });
            }
        }
        Ok(Self { references, records })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.references.is_empty()
    }

    /// Returns the documents that are near-duplicates of a text of the references, sorted by key.
    pub(crate) fn excluded(
        &self,
        documents: &SketchedDocuments<'_>,
        read: &ReadOptions,
        limit: HoldoutLimit,
        threshold: f64,
    ) -> Result<Vec<ExcludedDocument>, Error> {
        let unit = |row: &DocumentRow| limit.holds_out(row).then(|| limit.unit(row));
        self.read(read)?.excluded(documents, threshold, |row| Some(unit(row)))
    }

    fn read(&self, options: &ReadOptions) -> Result<ReadTexts, Error> {
        let mut read = ReadTexts { texts: Vec::new(), sources: Vec::new() };
        for (number, reference) in self.references.iter().enumerate() {
            let source = match reference {
                Reference::Corpus(path) => read_corpus(number, path, &mut read.texts)?,
                Reference::Files(list) => read_files(number, list, options, &mut read.texts)?,
            };
            read.sources.push(source);
        }
        Ok(read)
    }
}

fn read_corpus(
    reference: usize,
    path: &Path,
    texts: &mut Vec<ReferenceText>,
) -> Result<TextSource, Error> {
    let corpus = Corpus::open(path, Access::Read)?;
    let tokenizer = Tokenizer::load(path);
    if corpus.has_sketches(Split::Holdout) {
        let mut number = 0;
        for block in corpus.sketches(Split::Holdout)? {
            for sketch in block? {
                texts.push(ReferenceText { reference, number, sketch });
                number += 1;
            }
        }
        let with = |tokenizer| TextSource::Corpus(Box::new((corpus, tokenizer)));
        return Ok(tokenizer.map_or(TextSource::Sketches, with));
    }
    let tokenizer = tokenizer
        .map_err(|source| Error::NoSketches { path: path.to_owned(), source: Box::new(source) })?;
    let (mut sketcher, mut buffer) = (Sketcher::default(), Vec::new());
    for number in 0..corpus.manifest().split(Split::Holdout).documents {
        let text = text_of(&corpus, &tokenizer, number)?;
        let sketch = sketch_of(&mut sketcher, &text, &mut buffer);
        texts.push(ReferenceText { reference, number, sketch });
    }
    Ok(TextSource::Corpus(Box::new((corpus, tokenizer))))
}

fn read_files(
    reference: usize,
    list: &InputList,
    options: &ReadOptions,
    texts: &mut Vec<ReferenceText>,
) -> Result<TextSource, Error> {
    let (mut sketcher, mut buffer, mut shingles) = (Sketcher::default(), Vec::new(), Vec::new());
    // Labels and groups are those of the inputs.
    let options =
        ReadOptions { labels: None, group_field: None, id_field: None, ..options.clone() };
    for document in DocumentReader::new(list, &options) {
        let text = document?.text;
        let (number, sketch) =
            (as_u64(shingles.len()), sketch_of(&mut sketcher, &text, &mut buffer));
        texts.push(ReferenceText { reference, number, sketch });
        shingles.push(Shingles::of(&text));
    }
    Ok(TextSource::Files(shingles))
}

fn sketch_of(sketcher: &mut Sketcher, text: &str, buffer: &mut Vec<u8>) -> Sketch {
    sketcher.sketch(text).unwrap_or_else(|| Sketch::of_hash(text_hash(text, buffer)))
}

fn text_of(corpus: &Corpus, tokenizer: &Tokenizer, document: u64) -> Result<String, Error> {
    let Manifest { beginning_of_text, end_of_text, .. } = *corpus.manifest();
    let ends = TextEnds { beginning: beginning_of_text, end: end_of_text };
    ends.text(tokenizer, &corpus.document(Split::Holdout, document)?)
}

/// Returns the training documents that are near-duplicates of held-out ones, sorted by key.
pub(crate) fn like_held_out(
    documents: &SketchedDocuments<'_>,
    limit: HoldoutLimit,
    threshold: f64,
) -> Result<Vec<ExcludedDocument>, Error> {
    let held_out = documents.visit(Vec::new, |held_out, row, probe| {
        if limit.holds_out(row) {
            held_out.push(probe);
        }
        Ok(())
    })?;
    let mut held_out = held_out.concat();
    held_out.sort_unstable_by_key(|probe| probe.key);
    let text = |(number, probe): (u64, &Probe)| ReferenceText {
        reference: 0,
        number,
        sketch: probe.sketch,
    };
    let texts = (0..).zip(&held_out).map(text).collect();
    let sources = vec![TextSource::Parts(held_out.iter().map(|probe| probe.text).collect())];
    let training = |row: &DocumentRow| (!limit.holds_out(row)).then_some(None);
    let mut found = ReadTexts { texts, sources }.excluded(documents, threshold, training)?;
    found.iter_mut().for_each(|one| one.reference = None);
    Ok(found)
}

impl ReadTexts {
    /// Returns the documents that are near-duplicates of a text, sorted by key. `unit_of` returns by which hash a
    /// document was held out, if it was; `None` for a document that is not examined.
    fn excluded(
        &self,
        documents: &SketchedDocuments<'_>,
        threshold: f64,
        unit_of: impl Fn(&DocumentRow) -> Option<Option<u64>> + Sync,
    ) -> Result<Vec<ExcludedDocument>, Error> {
        let mut excluded: BTreeMap<u128, ExcludedDocument> = BTreeMap::new();
        for texts in self.texts.chunks(INDEXED_AT_ONCE) {
            let index = SketchIndex::new(texts.iter().map(|text| text.sketch).collect(), threshold);
            let found = documents.visit(
                || (Vec::new(), Vec::new()),
                |(found, excluded), row, probe| {
                    let Some(unit) = unit_of(row) else { return Ok(()) };
                    index.similar(&probe.sketch, threshold - Sketch::MARGIN, found);
                    let repeated = self.repeated(documents, threshold, texts, &probe, found)?;
                    excluded.extend(repeated.map(|one| ExcludedDocument { unit, ..one }));
                    Ok(())
                },
            )?;
            for one in found.into_iter().flat_map(|(_, excluded)| excluded) {
                let best = excluded.entry(one.key).or_insert_with(|| one.clone());
                if one.similarity > best.similarity {
                    *best = one;
                }
            }
        }
        Ok(excluded.into_values().collect())
    }

    /// Returns the document if it repeats one of the texts that were found.
    fn repeated(
        &self,
        documents: &SketchedDocuments<'_>,
        threshold: f64,
        texts: &[ReferenceText],
        probe: &Probe,
        found: &mut [(u32, f64)],
    ) -> Result<Option<ExcludedDocument>, Error> {
        // The highest estimate first; of equal ones the first text.
        found.sort_by(|(left, one), (right, other)| other.total_cmp(one).then(left.cmp(right)));
        let mut own = None;
        for &(number, similarity) in found.iter().take(COMPARED_AT_MOST) {
            let text = usize::try_from(number).ok().and_then(|number| texts.get(number));
            let Some(text) = text else { continue };
            let is_near = similarity >= threshold + Sketch::MARGIN || {
                let own = match &mut own {
                    Some(own) => own,
                    None => own.insert(documents.shingles(probe.text)?),
                };
                self.is_similar(documents, text, own, threshold)?
            };
            if is_near {
                return Ok(Some(ExcludedDocument {
                    key: probe.key,
                    place: probe.place,
                    unit: None,
                    reference: Some(text.reference),
                    text: text.number,
                    similarity,
                }));
            }
        }
        Ok(None)
    }

    fn is_similar(
        &self,
        documents: &SketchedDocuments<'_>,
        text: &ReferenceText,
        own: &Shingles,
        threshold: f64,
    ) -> Result<bool, Error> {
        let number = usize::try_from(text.number).unwrap_or(usize::MAX);
        let similarity = match self.sources.get(text.reference) {
            Some(TextSource::Corpus(corpus)) => {
                Shingles::of(&text_of(&corpus.0, &corpus.1, text.number)?).jaccard(own)
            }
            Some(TextSource::Files(shingles)) => {
                shingles.get(number).map_or(0.0, |other| other.jaccard(own))
            }
            Some(TextSource::Parts(places)) => match places.get(number) {
                Some(&place) => documents.shingles(place)?.jaccard(own),
                None => 0.0,
            },
            Some(TextSource::Sketches) | None => 0.0,
        };
        Ok(similarity >= threshold)
    }
}
