"""Parquet files of LeRobot: the rows of one episode, as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mili_jax.types import DataError

_EPISODE = "episode_index"


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path} is no readable parquet file ({error})") from error


def read_rows(
    path: Path, wanted: Callable[[str], bool] = lambda name: True
) -> list[dict[str, object]]:
    """All rows of a small file, of the columns that are wanted."""
    with _named(path), pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if wanted(name)]
        return file.read(columns=names).to_pylist()


class DataFile:
    """A file of rows, opened; it keeps the row group that was read last.

    Raises DataError, naming the file, if it is none or a column is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _named(path):
            self._file = pq.ParquetFile(path)
        self._names = self._file.schema_arrow.names
        if _EPISODE not in self._names:
            raise DataError(f"{path} lacks the column {_EPISODE!r}")
        self._cached: tuple[tuple[int, tuple[str, ...]], pa.Table] | None = None

    def close(self) -> None:
        self._file.close()

    def episode(self, index: int, names: Sequence[str]) -> Rows:
        """The rows of an episode, in their order in the file."""
        where = f"{self.path}, episode {index}"
        for name in names:
            if name not in self._names:
                raise DataError(
                    f"{self.path} lacks the column {name!r}, which info.json promises; it has "
                    f"{', '.join(self._names)}"
                )
        columns = tuple(dict.fromkeys([_EPISODE, *names]))
        parts = []
        for group in range(self._file.num_row_groups):
            if self._may_hold(group, index):
                table = self._group(group, columns)
                mask = pc.equal(table[_EPISODE], index)
                parts.append(table.filter(mask))
        with _named(self.path):
            table = pa.concat_tables(parts) if parts else None
        if table is None or not len(table):
            raise DataError(f"{where}: the file has no row of it")
        return Rows(where, table)

    def _group(self, group: int, columns: tuple[str, ...]) -> pa.Table:
        key = (group, columns)
        if self._cached is None or self._cached[0] != key:
            with _named(self.path):
                self._cached = (key, self._file.read_row_group(group, columns=list(columns)))
        return self._cached[1]

    def _may_hold(self, group: int, index: int) -> bool:
        meta = self._file.metadata.row_group(group)
        for k in range(meta.num_columns):
            column = meta.column(k)
            if column.path_in_schema == _EPISODE:
                stats = column.statistics
                if stats is None or not stats.has_min_max:
                    return True
                return bool(stats.min <= index <= stats.max)
        return True


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of an episode. Every method raises DataError naming `where` and the column."""

    where: str
    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    def numbers(self, name: str, shape: tuple[int | None, ...], dtype: str) -> np.ndarray:
        """[T,*shape] in the type that was promised."""
        array = self.table[name].combine_chunks()
        kind = array.type
        nested = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
        nested = nested or pa.types.is_large_list(kind)
        width = 1 if nested and not shape else int(shape[0] or 0) if shape else None
        if array.null_count:
            raise DataError(f"{self.where}: {name} has {array.null_count} empty rows")
        if nested:
            lengths = pc.list_value_length(array)
            if lengths.null_count or pc.any(pc.not_equal(lengths, width)).as_py():
                found = sorted(set(lengths.to_pylist()))
                raise DataError(
                    f"{self.where}: {name} has {found} numbers in a row, {width} are promised"
                )
            array = array.flatten()
        elif shape:
            raise DataError(f"{self.where}: {name} is one {kind} a row, {width} are promised")
        if array.null_count:
            raise DataError(f"{self.where}: {name} has {array.null_count} empty numbers")
        if not (
            pa.types.is_integer(array.type)
            or pa.types.is_floating(array.type)
            or pa.types.is_boolean(array.type)
        ):
            raise DataError(f"{self.where}: {name} is of the type {array.type}, not {dtype}")
        wanted = np.dtype(dtype)
        found = array.to_numpy(zero_copy_only=False)
        if wanted.kind != found.dtype.kind and not (
            wanted.kind in "iu" and found.dtype.kind in "iu"
        ):
            raise DataError(f"{self.where}: {name} is of the type {array.type}, not {dtype}")
        return found.astype(wanted, copy=False).reshape(len(self.table), *(s or 0 for s in shape))

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.table[name].to_pylist()
        if not all(isinstance(value, str) for value in values):
            raise DataError(f"{self.where}: {name} is not text in every row")
        return tuple(values)

    def pictures(self, name: str, folder: Path) -> list[bytes]:
        """The encoded picture of every row, which the file holds itself or names."""
        found = []
        for k, value in enumerate(self.table[name].to_pylist()):
            blob = value.get("bytes") if isinstance(value, dict) else None
            path = value.get("path") if isinstance(value, dict) else None
            if not isinstance(blob, bytes) and isinstance(path, str):
                blob = self._file(name, folder, path)
            if not isinstance(blob, bytes):
                raise DataError(f"{self.where}: {name} of step {k} holds no picture")
            found.append(blob)
        return found

    def _file(self, name: str, folder: Path, path: str) -> bytes:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise DataError(f"{self.where}: {name} names {path}, which lies outside the folder")
        try:
            return (folder / path).read_bytes()
        except OSError as error:
            raise DataError(
                f"{folder / path} cannot be read ({error.strerror}); {self.where} names it"
            ) from error
