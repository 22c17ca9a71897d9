"""The binary log: fixed rows, a readable prefix, and the same numbers back."""

import random

import numpy as np

from loadtests.sample import ROW, ROW_FIELDS, ErrorKind, Sample, SampleWriter, read_samples


def sample(number: int) -> Sample:
    return Sample(
        planned_ns=number * 1000,
        sent_ns=number * 1000 + 5,
        done_ns=number * 1000 + 2_000_005,
        pair=number,
        size_bytes=2**33,
        server=15,
        status=200,
        workload=1,
        side=number % 2,
        error=ErrorKind.TOOL_ERROR,
        flags=3,
    )


def test_a_row_is_what_numpy_reads(tmp_path):
    path = tmp_path / "log"
    writer = SampleWriter(path)
    for number in range(250):
        writer.append(sample(number))
    assert 200 <= path.stat().st_size // ROW.size < 250, "rows are written as it goes, not at the end"
    writer.close()
    writer.close()
    rows = read_samples(path)
    assert np.dtype(list(ROW_FIELDS)).itemsize == ROW.size
    assert len(rows) == 250
    last = rows[-1]
    assert (last["planned_ns"], last["done_ns"], last["pair"]) == (249_000, 2_249_005, 249)
    assert (last["size_bytes"], last["server"], last["status"]) == (0xFFFFFFFF, 15, 200)
    assert (last["workload"], last["side"], last["error"], last["flags"]) == (1, 1, ErrorKind.TOOL_ERROR, 3)
    assert path.stat().st_mode & 0o777 == 0o600


def test_latency_counts_from_the_planned_time():
    assert sample(0).latency_ms == 2.000005


def test_a_log_cut_anywhere_is_a_readable_prefix(tmp_path):
    path = tmp_path / "log"
    writer = SampleWriter(path)
    for number in range(20):
        writer.append(sample(number))
    writer.close()
    whole = path.read_bytes()
    for size in random.Random(1).sample(range(len(whole)), 30):
        path.write_bytes(whole[:size])
        rows = read_samples(path)
        assert list(rows["pair"]) == list(range(size // ROW.size))
    path.unlink()
    assert len(read_samples(path)) == 0


def test_every_error_kind_fits_its_byte():
    assert not ErrorKind.NONE.value
    assert max(ErrorKind) < 256
