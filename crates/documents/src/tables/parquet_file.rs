//! A reader of Parquet: the rows and bytes of the row groups, and their batches in order.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, FieldRef, Fields, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{ConvertedType, Type as PhysicalType};
use parquet::file::metadata::{FileMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use crate::error::{Damage, Error};
use crate::inputs::format::InputFormat;
use crate::inputs::layout::{Block, Where, guarded};
use crate::reading::wanted::{Wanted, find_columns};
use crate::tables::page_guard::{Bound, GuardedFile};

/// The intended bytes of text in a batch.
const BATCH_BYTES: u64 = 512 * 1024;

/// The maximum rows of a batch, whatever their mean length: a few long rows among many short ones stay together in
/// memory.
const BATCH_ROWS: u64 = 4096;

/// Returns the rows and bytes of the requested columns of every row group, from the footer.
pub(crate) fn read_blocks(path: &Path, bytes: u64, wanted: &[Wanted]) -> Result<Vec<Block>, Error> {
    let file = File::open(path).map_err(|source| Error::io(path, source))?;
    let metadata = guarded(path, InputFormat::Parquet, Where::Index, || load(&file, bytes))?;
    let columns = find_columns(path, metadata.schema().fields(), wanted)?;
    let leaves = leaves(metadata.parquet_schema(), &columns);
    let groups = metadata.metadata().row_groups().iter();
    let blocks = || groups.map(|group| block(group, &leaves, bytes)).collect();
    guarded(path, InputFormat::Parquet, Where::Index, blocks)
}

/// Loads the schema from the column types: the writer's own notes on its types are not needed and would be one more
/// thing to trust.
fn load(file: &File, bytes: u64) -> Result<ArrowReaderMetadata, Damage> {
    use std::io::{Read, Seek, SeekFrom};
    let mut end = [0; 4];
    let mut reader = file;
    reader.seek(SeekFrom::Start(bytes.saturating_sub(4)))?;
    reader.read_exact(&mut end)?;
    if &end != b"PAR1" {
        let got = end.escape_ascii();
        return Err(
            format!("it ends with \"{got}\" and not with PAR1, so it is not complete").into()
        );
    }
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    Ok(ArrowReaderMetadata::load(file, options)?)
}

/// Returns the same file with its strings read as views of the bytes in the pages. They are checked row by row: a
/// decoder that checks strings refuses a whole page because of one.
fn with_views(metadata: &ArrowReaderMetadata) -> Result<ArrowReaderMetadata, Damage> {
    let own = metadata.metadata();
    let file = own.file_metadata();
    let schema = SchemaDescriptor::new(without_strings(file.schema_descr().root_schema_ptr())?);
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        None,
        Arc::new(schema),
        file.column_orders().cloned(),
    );
    let bytes = Arc::new(ParquetMetaData::new(file, own.row_groups().to_vec()));
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::try_new(bytes, options)?;
    let views = metadata.schema().fields().iter().map(with_view).collect::<Fields>();
    let options = ArrowReaderOptions::new()
        .with_skip_arrow_metadata(true)
        .with_schema(Arc::new(Schema::new(views)));
    Ok(ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?)
}

/// Returns a type in which strings at any depth are bytes.
fn without_strings(own: TypePtr) -> Result<TypePtr, Damage> {
    let info = own.get_basic_info();
    let (name, id) = (own.name(), info.has_id().then(|| info.id()));
    if own.is_primitive() {
        let strings = [ConvertedType::UTF8, ConvertedType::JSON, ConvertedType::ENUM];
        if own.get_physical_type() != PhysicalType::BYTE_ARRAY
            || !strings.contains(&info.converted_type())
        {
            return Ok(own);
        }
        let bytes = Type::primitive_type_builder(name, PhysicalType::BYTE_ARRAY);
        return Ok(Arc::new(bytes.with_repetition(info.repetition()).with_id(id).build()?));
    }
    let fields = own.get_fields().iter().map(|field| without_strings(Arc::clone(field)));
    let group = Type::group_type_builder(name)
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_fields(fields.collect::<Result<_, _>>()?)
        .with_id(id);
    let group = match info.has_repetition() {
        true => group.with_repetition(info.repetition()),
        false => group,
    };
    Ok(Arc::new(group.build()?))
}

/// Returns a column of bytes as views of its pages, so that the content of a page is not copied again.
fn with_view(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Binary => DataType::BinaryView,
        DataType::Struct(inner) => DataType::Struct(inner.iter().map(with_view).collect()),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// Returns the leaf columns at or below the requested ones; all of them if none is requested.
fn leaves(schema: &SchemaDescriptor, columns: &[Vec<String>]) -> Vec<usize> {
    let is_wanted = |leaf: &usize| {
        let path = schema.column(*leaf).path().clone();
        columns.is_empty() || columns.iter().any(|column| path.parts().starts_with(column))
    };
    (0..schema.num_columns()).filter(is_wanted).collect()
}

fn block(group: &RowGroupMetaData, leaves: &[usize], bytes: u64) -> Result<Block, Damage> {
    let mut text_bytes = 0_u64;
    for &leaf in leaves {
        let column = group.columns().get(leaf).ok_or("a row group with too few columns")?;
        Bound::new(column, bytes)?;
        // With a dictionary, a page is smaller than its text.
        let text = column.unencoded_byte_array_data_bytes().unwrap_or(0);
        let len = text.max(column.uncompressed_size());
        text_bytes = text_bytes.saturating_add(u64::try_from(len)?);
    }
    Ok(Block { rows: u64::try_from(group.num_rows())?, text_bytes })
}

/// An iterator over the batches from a row on.
pub(crate) struct ParquetBatches {
    file: File,
    bytes: u64,
    metadata: ArrowReaderMetadata,
    leaves: Vec<usize>,
    blocks: Vec<Block>,
    next_group: usize,
    /// Rows of the next row group to skip.
    skip: u64,
    reader: Option<ParquetRecordBatchReader>,
}

impl ParquetBatches {
    /// Starts at row `start`.
    pub(crate) fn open(
        path: &Path,
        file: File,
        bytes: u64,
        wanted: &[Wanted],
        start: u64,
    ) -> Result<Self, Error> {
        let metadata = guarded(path, InputFormat::Parquet, Where::Index, || load(&file, bytes))?;
        let columns = find_columns(path, metadata.schema().fields(), wanted)?;
        let leaves = leaves(metadata.parquet_schema(), &columns);
        let metadata = guarded(path, InputFormat::Parquet, Where::Index, || with_views(&metadata))?;
        let blocks: Vec<Block> = guarded(path, InputFormat::Parquet, Where::Index, || {
            let groups = metadata.metadata().row_groups().iter();
            groups.map(|group| block(group, &leaves, bytes)).collect()
        })?;
        let (mut next_group, mut skip) = (0, start);
        while let Some(block) = blocks.get(next_group).filter(|block| block.rows <= skip) {
            skip -= block.rows;
            next_group += 1;
        }
        Ok(Self { file, bytes, metadata, leaves, blocks, next_group, skip, reader: None })
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> Result<Option<RecordBatch>, Damage> {
        loop {
            if let Some(reader) = &mut self.reader
                && let Some(batch) = reader.next()
            {
                return Ok(Some(batch?));
            }
            let Some(block) = self.blocks.get(self.next_group) else { return Ok(None) };
            let mean_bytes = (block.text_bytes / block.rows.max(1)).max(1);
            let rows = (BATCH_BYTES / mean_bytes).clamp(1, BATCH_ROWS);
            let schema = self.metadata.parquet_schema();
            let mask = ProjectionMask::leaves(schema, self.leaves.iter().copied());
            let skip = std::mem::take(&mut self.skip);
            let file = self.guarded_file()?;
            let metadata = self.metadata.clone();
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
                .with_projection(mask)
                .with_row_groups(vec![self.next_group])
                .with_offset(usize::try_from(skip)?)
                .with_batch_size(usize::try_from(rows)?)
                .build()?;
            self.reader = Some(reader);
            self.next_group += 1;
        }
    }

    /// Returns the file, with the bounds of the next row group's columns.
    fn guarded_file(&self) -> Result<GuardedFile, Damage> {
        let groups = self.metadata.metadata().row_groups();
        let group = groups.get(self.next_group).ok_or("a row group that is not there")?;
        let columns = self.leaves.iter().filter_map(|&leaf| group.columns().get(leaf));
        let bounds = columns.map(|column| Bound::new(column, self.bytes)).collect::<Result<_, _>>();
        Ok(GuardedFile::new(self.file.try_clone()?, bounds?))
    }
}
