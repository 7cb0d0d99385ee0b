"""Tables are looked up as integers, in a quarter of the bytes or less, and give nearly what they gave."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from certify.model_file.onnx_graph.counts import count
from compress.exchange.parity import run_onnx
from compress.passes.quantize_embeddings import QuantizeEmbeddings

ROWS, WIDTH = 300, 40
TABLE = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32) * np.linspace(0.01, 5, ROWS)[:, None]
PLACES = np.random.default_rng(1).integers(-ROWS, ROWS, (5, 7))


def _file(path, *nodes, table=TABLE, **tables):
    """A file that looks ``x`` up in ``table``, with further nodes that may read it."""
    made = [helper.make_node("Gather", ["table", "x"], ["y"], "lookup"), *nodes]
    tables = {"table": table.astype(np.float32)} | tables
    ranks = {node.output[0]: 3 if node.op_type == "Gather" else 2 for node in made}
    graph = helper.make_graph(
        made, "g",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", 7])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name, rank in ranks.items()],
        [numpy_helper.from_array(array, name) for name, array in tables.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize(("bits", "least_db", "share"), [(8, 40, 0.29), (4, 18, 0.22)])
def test_rows_stay_close_in_fewer_bytes_when_tables_are_integers(tmp_path, context, bits, least_db, share):
    source = _file(tmp_path / "in.onnx")
    quantized, record = QuantizeEmbeddings(bits=bits, smallest=1).apply(source, context)
    wanted, found = run_onnx(source, PLACES), run_onnx(quantized, PLACES)
    error = np.square(wanted - found).sum(axis=-1)
    assert (error <= np.square(wanted).sum(axis=-1) * 10 ** (-least_db / 10)).all()  # in each row, large or small
    assert record.done["tables"]["table"] > least_db
    saved = record.done["bytes_saved"]
    assert saved >= (1 - share) * TABLE.size * 4
    assert quantized.stat().st_size <= source.stat().st_size - saved + 600


def test_weights_are_counted_once_each_when_two_of_them_share_a_byte(tmp_path, context):
    quantized, _ = QuantizeEmbeddings(bits=4, smallest=1).apply(_file(tmp_path / "in.onnx"), context)
    counted = count(onnx.load(quantized))
    assert (counted.parameters, counted.not_counted) == (TABLE.size, ())


def test_rows_of_zeros_stay_zero(tmp_path, context):
    table = TABLE.copy()
    table[3] = 0
    quantized, _ = QuantizeEmbeddings(smallest=1).apply(_file(tmp_path / "in.onnx", table=table), context)
    assert not run_onnx(quantized, np.full((2, 7), 3)).any()


def test_table_is_stored_once_when_it_is_looked_up_twice(tmp_path, context):
    second = helper.make_node("Gather", ["table", "x"], ["again"], "second")
    quantized, record = QuantizeEmbeddings(smallest=1).apply(_file(tmp_path / "in.onnx", second), context)
    assert list(record.done["tables"]) == ["table"]
    assert [tensor.name for tensor in onnx.load(quantized).graph.initializer] == ["table.codes", "table.scales"]


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([helper.make_node("Relu", ["table"], ["z"], "relu")], "something other than a lookup also reads it"),
        ([helper.make_node("Gather", ["table", "x"], ["z"], "columns", axis=1)], "it is looked up by columns"),
    ],
)
def test_table_is_unchanged_when_another_operator_reads_it(tmp_path, context, nodes, why):
    source = _file(tmp_path / "in.onnx", *nodes)
    quantized, record = QuantizeEmbeddings(smallest=1).apply(source, context)
    assert quantized == source
    assert {each.why for each in record.declined} >= {why}


def test_small_tables_are_unchanged_by_default(tmp_path, context):
    quantized, record = QuantizeEmbeddings().apply(given := _file(tmp_path / "in.onnx"), context)
    assert quantized == given
    assert "no embedding table of 65536 floats or more" in record.declined[0].why


def test_four_bits_are_declined_when_the_target_has_no_blockwise_lookup(tmp_path, context):
    source = _file(tmp_path / "in.onnx")
    quantized, record = QuantizeEmbeddings(bits=4, smallest=1, target="cuda-tensorrt").apply(source, context)
    assert quantized == source
    assert "cuda-tensorrt has no blockwise 4-bit lookup" in record.declined[0].why
