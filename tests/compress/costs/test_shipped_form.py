"""Blocks are measured in the form that ships, which the passes that follow tell."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
from torch import nn

from certify.data import TokenInput, TokenPreprocess
from compress.core.targets import TARGETS
from compress.costs import shipped_form
from compress.costs.chains import stacked
from compress.costs.items import FULL, Variant, block, find_items
from compress.costs.shipped_form import Shipping
from compress.models.tokens import TokenClassifier
from compress.passes.qat import Qat
from compress.passes.quantize_dynamic import QuantizeDynamic
from compress.passes.quantize_static import QuantizeStatic

VNNI = TARGETS["cpu-vnni"]


@pytest.mark.parametrize(
    ("following", "asked", "found"),
    [
        ((), None, "float"),
        ((QuantizeStatic(),), None, "int8"),
        ((Qat(),), None, "int8"),
        ((QuantizeDynamic(),), None, "float"),
        ((QuantizeStatic(),), "float", "float"),
        ((), "int8", "int8"),
    ],
)
def test_precision_is_that_of_the_following_passes_when_none_is_requested(following, asked, found):
    assert Shipping.after(following, VNNI, asked).precision == found


def test_key_includes_the_integer_types_when_the_pass_names_a_target():
    arm = Shipping.after((QuantizeStatic(target="cpu-arm", per_channel=False),), VNNI).to_json()
    assert (arm["activation_type"], arm["per_channel"]) == ("int8", False)
    assert arm != Shipping.after((QuantizeStatic(),), VNNI).to_json()
    assert Shipping.after((), VNNI).to_json() == Shipping.after((), TARGETS["cpu-arm"]).to_json()


def test_stack_runs_in_integers_when_a_block_is_exported(deep, context, tmp_path):
    item = find_items(deep, context.sample(1), (), most=0.9)[0]
    assert [item.label(variant) for variant in item.variants] == ["full", "dropped"]
    single = shipped_form.one_block(block(deep, item, FULL), item.input, tmp_path)
    stack = stacked(single, 3)
    assert sum(node.op_type == "Conv" for node in stack.graph.node) == 3
    shipped = shipped_form.as_shipped(stack, Shipping("int8", VNNI), [{stack.graph.input[0].name: item.input}])
    assert (
        sum(tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4 for tensor in shipped.graph.initializer)
        == 3
    )
    session = onnxruntime.InferenceSession(shipped.SerializeToString(), providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {shipped.graph.input[0].name: item.input})
    assert given.shape == item.input.shape


def test_remaining_model_is_the_same_when_a_block_is_dropped(deep, context):
    item = find_items(deep, context.sample(1), (), most=0.9)[1]
    item.change(deep, Variant(dropped=True))
    assert deep.get_submodule(item.path)(3) == 3
    assert deep(context.sample(1)).shape == (1, 4)


def test_file_is_quantized_as_a_transformer_when_the_original_is_one(tmp_path):
    node = onnx.helper.make_node("LayerNormalization", ["x", "s"], ["y"])
    graph = onnx.helper.make_graph([node], "norm", [], [])
    assert shipped_form.operators_of(onnx.helper.make_model(graph), "auto") == "weights"
    assert shipped_form.operators_of(onnx.helper.make_model(graph), "all") == "all"


class Words(nn.Module):
    """A classifier of texts with one block."""

    def __init__(self):
        super().__init__()
        self.words, self.block = nn.Embedding(20, 8), nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        return self.block((self.words(input_ids) * attention_mask[:, :, None]).sum(1))


def test_nodes_of_a_block_are_found_when_a_model_takes_several_inputs(tmp_path):
    contract = TokenPreprocess(
        input_ids="input_ids", attention_mask="attention_mask", output_name="logits", length=6, vocabulary=20, pad_id=0,
        reading="logits",
    )  # fmt: skip
    model = TokenClassifier(Words(), TokenInput(("input_ids", "attention_mask"), 20, 0, 6)).eval()
    whole = shipped_form.whole_model(model, contract, tmp_path, ["model.block"])
    assert [each.name for each in whole.file.graph.input] == ["input_ids", "attention_mask"]
    kinds = {node.name: node.op_type for node in whole.file.graph.node}
    assert [kinds[name] for name in whole.names(["model.block"])] == ["Gemm"]
