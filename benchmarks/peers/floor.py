"""The floor: only decompress the bytes that the analysis needs. One process per core, plain Python.

The entry offsets at the end of each jagged basket are not needed (nMuon has the same information), so decompression
stops where the data end; LZ4 is decoded in whole blocks, because its block format cannot be decoded in part. `prepare`
finds the baskets before the measurement starts.
"""

import lzma
import struct
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import cramjam
import uproot
import zstandard
from isal import isal_zlib

COLUMNS = ("nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge")
KEY = struct.Struct(">iHiIHH")
BLOCK = struct.Struct("<2sB3s3s")
FLAST = struct.Struct(">i")


@contextmanager
def session(workers):
    with get_context("fork").Pool(workers) as pool:  # safe without threads, and shares the imports
        yield pool


def prepare(pool, files, treename, columns=COLUMNS):
    """Return (path, [(seek, bytes on disk, bytes needed, or for a basket: is it jagged)]) for each file and cluster."""
    jobs = []
    for path in files:
        with uproot.open(path) as file:
            tree = file[treename]
            find = ttree_baskets if hasattr(tree, "branches") else rntuple_pages
            jobs += [(path, group) for group in find(tree, columns)]
    return jobs


def ttree_baskets(tree, columns):
    groups = {}
    for name in columns:
        branch = tree[name]
        jagged = not isinstance(branch.interpretation, uproot.AsDtype)
        for i in range(branch.num_baskets):
            if i >= branch._num_normal_baskets:
                raise ValueError(f"Basket {i} of {name} is in the record of the tree, which the floor does not read")
            start = int(branch.entry_offsets[i])
            where = int(branch.member("fBasketSeek")[i]), int(branch.member("fBasketBytes")[i])
            groups.setdefault(start, []).append((*where, jagged))
    return groups.values()


def rntuple_pages(tree, columns):
    ntuple = getattr(tree, "ntuple", tree)
    fields = ntuple.field_records
    for cluster in ntuple.page_link_list:
        group = []
        for column, pages in zip(ntuple.column_records, cluster, strict=True):
            top = fields[fields[column.field_id].parent_field_id].field_name
            # the offset column belongs to the field of the collection, the values to its child
            is_offset = fields[column.field_id].field_name in columns and "n" + top.split("_")[0] in columns
            if top in columns and not is_offset:
                size = column.nbits // 8
                group += [(p.locator.offset, p.locator.num_bytes, p.num_elements * size) for p in pages.pages]
        yield group


def decompress(job):
    path, pieces = job
    total = 0
    with Path(path).open("rb", buffering=0) as file:
        for seek, size, wanted in pieces:
            file.seek(seek)
            record = memoryview(file.read(size))
            if isinstance(wanted, bool):
                nbytes, _, full, _, key, _ = KEY.unpack_from(record)
                border = FLAST.unpack_from(record, key - 5)[0] - key
                payload, wanted = record[key:nbytes], border if wanted else full
                stored = len(payload) == full
            else:
                payload, stored = record, size == wanted
            total += wanted if stored else blocks(payload, wanted)
    return total


def blocks(payload, wanted):
    """Decode ROOT's blocks until `wanted` bytes are decoded."""
    got = 0
    while got < wanted:
        kind, _, packed, unpacked = BLOCK.unpack_from(payload)
        packed, unpacked = int.from_bytes(packed, "little"), int.from_bytes(unpacked, "little")
        got += DECODERS[kind](payload[BLOCK.size : BLOCK.size + packed], min(unpacked, wanted - got), unpacked)
        payload = payload[BLOCK.size + packed :]
    return got


DECODERS = {
    b"ZL": lambda data, wanted, _: len(isal_zlib.decompressobj().decompress(data, wanted)),
    b"ZS": lambda data, wanted, _: len(zstandard.ZstdDecompressor().stream_reader(data).read(wanted)),
    b"XZ": lambda data, wanted, _: len(lzma.LZMADecompressor().decompress(data, wanted)),
    # the data follow eight bytes of checksum
    b"L4": lambda data, wanted, full: min(wanted, len(cramjam.lz4.decompress_block(data[8:], output_len=full))),
}


def run(pool, jobs, treename, chunk_entries):
    total = sum(pool.imap_unordered(decompress, jobs, chunksize=8 if len(jobs) > 100 else 1))
    if total == 0:
        raise RuntimeError("nothing was decompressed")
