"""The table of one contraction, in words: addresses, extents, and where the tables of offsets are.

Strides and offsets are in bytes.
"""

WORDS = 38
A, B, OUT, SIZE, TABLES, PACKED, FIRST, COUNT, BATCH, ADD, PLAIN, GROUPS, BESIDE = range(0, 104, 8)
# For each of the five groups of indices, in the order of `Roles`: how many there are, how many values they have
# together, and the tables of their offsets in a, b and out.
COUNTS, EXTENTS, OFFSETS = 104, 144, 184
SEQUENCE, BATCHES, ROWS, COLUMNS, DEPTH = range(EXTENTS, EXTENTS + 40, 8)
SEQUENCE_A, BATCH_A, ROW_A, COLUMN_A, STEP_A = range(OFFSETS, OFFSETS + 120, 24)
SEQUENCE_B, BATCH_B, ROW_B, COLUMN_B, STEP_B = range(OFFSETS + 8, OFFSETS + 120, 24)
SEQUENCE_OUT, BATCH_OUT, ROW_OUT, COLUMN_OUT, STEP_OUT = range(OFFSETS + 16, OFFSETS + 136, 24)
INDICES = 8 * WORDS  # then, for each index: extent, strides in a, b and out
INDEX_BYTES, OF_A, OF_B, OF_OUT = 32, 8, 16, 24
MOST_INDICES = 16
